"""Bring your own: a model by its name, a folder of images, names for the classes, and what must hold for them.

Everything is explained in one unit: pixel values in [0, 1], red, green, blue, (N, 3, S, S). What the model
needs besides (normalisation, grey values, another size) is its preprocessing, which becomes a part of the
model; so a map lies on the pixels that are shown, not on what comes between.

What cannot be explained is refused with words before anything is computed (`require_explainable`).
"""

import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from helpers.checks import did_you_mean, require_count
from helpers.measure.grids import CELLS, Grids, confident, make_grids
from helpers.measure.peers import GradCam, Gradient, IntegratedGradients, Occlusion, Peer, SmoothGrad
from helpers.measure.sanity import randomised
from helpers.saliency import Blurred, stages
from helpers.zoo.classifiers import LITE0, RANDOM, Classifier, load_classifier
from helpers.zoo.networks import Preprocessed, predict, taking, with_normalisation
from helpers.zoo.photographs import BUNDLED, endings, load_photo, photo_folder, photograph

IMAGENET = "imagenet"
PEERS = ("gradient", "Grad-CAM", "SmoothGrad", "Occlusion", "Integrated Gradients")


def bring(
    name: str = LITE0,
    side: int = 0,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    class_names: str | Path = "",
    device: str = "cpu",
    seed: int = 0,
    show_progress: bool = True,
) -> Classifier:
    """A model by its name, ready to be explained, and checked (`require_explainable`).

    It is put into eval mode, its parameters without gradient and in float32: a model that was left in train
    mode would give other maps in other batches.

    Args:
        name: a name that `helpers.zoo.classifiers.load_classifier` knows ("efficientnet_lite0", one of
            torchvision's, "random:" before either); or "module:function", a function without arguments that
            returns a module or a pair (module, preprocessing), from the working folder or an installed package.
            The preprocessing is what stands between pixel values in [0, 1], (N, 3, S, S), and the model; of
            torchvision's (``weights.transforms()``) the mean, standard deviation and size are taken.
        side: S, pixels a side of the square images; 0: that of the weights.
        mean, std: numbers from 0 to 1, one or one a channel, for models without a preprocessing of their own;
            empty: as the weights say, or 0 and 1.
        class_names: a text file, UTF-8, one name a line in the order of the outputs; "imagenet": its 1000;
            "": the weights' own or, where there are none, "class 0" and so on.
        device: "cpu", "cuda" or another that torch knows.
        seed: of random weights, and of the two random images that the model is tried with.
        show_progress: whether a download shows a progress bar.

    Raises:
        ValueError: an unknown name (the message names the nearest), a module that cannot be imported or has no such
            function, another number of class names than of classes, a device that is not there, and what
            `require_explainable` raises.
        TypeError: no function, or a function that returns something else.
        FileNotFoundError: no file with class names.
        RuntimeError: weights that could not be downloaded; a function that raised.

    Example:
        >>> found = bring("torchvision.models:squeezenet1_1", side=32)
        >>> found.size, found.class_names[:2], found.model(torch.rand(4, 3, 32, 32)).shape
        (32, ('class 0', 'class 1'), torch.Size([4, 1000]))
    """
    for argument, value in (("mean", mean), ("std", std)):
        if len(value) not in (0, 1, 3):
            raise ValueError(
                f"{argument}: expected one number, three (red, green, blue), or none; got {len(value)}: {value!r}."
            )
    require_count("side", side, 0, "pixels a side; 0: that of the weights")
    place = _device(device)
    if isinstance(name, str) and ":" in name and not name.startswith(RANDOM):
        found = _from_function(name, side, mean, std)
    else:
        found = load_classifier(name, seed, show_progress)
        if len(mean) or len(std):
            known = found.model.preprocessing
            normalised = with_normalisation(
                found.model.model, list(mean) or known.mean, list(std) or known.std
            )
            found = replace(found, model=normalised)
        found = replace(found, size=side or found.size)
    model = found.model.float().eval().requires_grad_(False).to(place)
    generator = torch.Generator().manual_seed(seed)
    trial = torch.rand(2, 3, found.size, found.size, generator=generator).to(place)
    classes = require_explainable(model, trial)
    return replace(found, model=model, class_names=_names(class_names, found.class_names, classes))


def require_explainable(model: nn.Module, inputs: Tensor) -> int:
    """The number of classes K of a model that can be explained; others are refused.

    Args:
        model: from inputs to logits (N, K).
        inputs: two at least, (N, C, H, W), on the model's device.

    Raises:
        ValueError: a model in train mode, with several inputs, that does not take these inputs, whose output is
            no (N, K) of logits with K >= 2 (probabilities are none) or not finite, that depends on chance or on
            the rest of the batch, or through which no gradient reaches the input.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> require_explainable(model, torch.rand(2, 3, 2, 2))
        3
        >>> require_explainable(nn.Sequential(model, nn.Softmax(1)).eval(), torch.rand(2, 3, 2, 2))
        Traceback (most recent call last):
        ValueError: model: expected logits; the outputs are probabilities (not negative, with sum 1). Leave ...
    """
    if len(inputs) < 2:
        raise ValueError(
            f"inputs: expected two at least, to be compared alone and together; got {len(inputs)}."
        )
    training = [type(m).__name__ for m in model.modules() if m.training]
    if training:
        raise ValueError(
            f"model: expected one in eval mode; {len(training)} of its modules are in train mode, the first a "
            f"{training[0]}. Call model.eval()."
        )
    _require_one_input(model)
    with torch.no_grad():
        logits = _logits(model, inputs)
        again, alone = _logits(model, inputs), _logits(model, inputs[:1])
    near = 1e-3 * logits.abs().max().clamp_min(1e-6)
    if (again - logits).abs().max() > near:
        raise ValueError(
            "model: expected the same outputs for the same inputs; got others the second time. Something in it "
            "draws at random, even in eval mode (functional.dropout without training=False?): switch it off."
        )
    if (alone - logits[:1]).abs().max() > near:
        raise ValueError(
            "model: expected outputs that do not depend on the other examples of the batch; an example alone has "
            "others. A normalisation uses the batch's own statistics (batch norm with track_running_stats=False?): "
            "give it fixed ones."
        )
    total = logits.sum(1)
    if (logits >= 0).all() and (total - 1).abs().max() < 1e-4:
        raise ValueError(
            "model: expected logits; the outputs are probabilities (not negative, with sum 1). Leave out the "
            "last softmax: what is explained is a difference of logits."
        )
    _require_gradient(model, inputs, logits.argmax(1))
    return logits.shape[1]


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters and buffers are; the CPU, if it has none.

    Example:
        >>> device_of(nn.Linear(2, 1))
        device(type='cpu')
    """
    return next((p.device for p in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def _device(device: str) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected 'cpu' or a device of this machine, such as 'cuda'; got {device!r}, which torch "
            f"cannot use here ({str(error).splitlines()[0]})."
        ) from error
    return place


@contextmanager
def _working_folder() -> Iterator[None]:
    """Modules of the working folder can be imported meanwhile."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def _from_function(name: str, side: int, mean: Sequence[float], std: Sequence[float]) -> Classifier:
    """The model that a user's function returns."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise ValueError(
            f"model: expected 'module:function', such as 'my_models:build' for the function build in "
            f"my_models.py (dots for folders, no '.py'); got {name!r}."
        )
    with _working_folder():
        function = _function(*name.split(":"))
        try:
            made = function()
        except Exception as error:  # a user's code may raise anything
            raise RuntimeError(
                f"model: {name} raised {type(error).__name__}: {error}. It is called without arguments, in the "
                "working folder; weights are its own business: without a network, load them from a file."
            ) from error
    model, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module) or not (preprocessing is None or callable(preprocessing)):
        kinds = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else None
        raise TypeError(
            f"model: expected {name} to return a torch.nn.Module, or a pair of one and a preprocessing that can "
            f"be called; got {kinds or type(made).__name__}."
        )
    _require_one_input(model)
    if preprocessing is None:
        normalised = with_normalisation(model, list(mean) or 0.0, list(std) or 1.0)
        return Classifier(name, normalised, (), _size(name, side))
    if len(mean) or len(std):
        raise ValueError(
            f"mean, std: expected none, because {name} returns a preprocessing of its own; got {mean!r}, {std!r}."
        )
    if all(hasattr(preprocessing, part) for part in ("mean", "std", "crop_size")):
        # torchvision's: resizing and cutting out are done when the photo is read, at the size that is wanted
        size = side or preprocessing.crop_size[0]
        return Classifier(name, with_normalisation(model, preprocessing.mean, preprocessing.std), (), size)
    size = _size(name, side)
    _require_preprocessing(name, preprocessing, size)
    return Classifier(name, Preprocessed(preprocessing, model), (), size)


def _size(name: str, side: int) -> int:
    if not side:
        raise ValueError(
            f"side: expected the pixels a side of the images that {name} takes; got 0. Set side."
        )
    return side


def _function(module: str, function: str) -> Callable:
    known = module in sys.modules
    try:
        found = importlib.import_module(module)
        if known and (Path.cwd() / f"{module.replace('.', '/')}.py").is_file():
            # It may have been edited meanwhile, or be another folder's module of the same name.
            found = importlib.reload(found)
    except Exception as error:  # a user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "?"):
            here = [path.stem for path in Path.cwd().glob("*.py")]
            missing = f" {module.replace('.', '/')}.py is not there."
            raise ValueError(
                f"model: expected a module {module!r} in the working folder or an installed package, found none."
                + did_you_mean(module, here, missing)
            ) from error
        raise ValueError(
            f"model: the module {module!r} cannot be imported: {type(error).__name__}: {error}."
        ) from error
    if not hasattr(found, function):
        known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
        raise ValueError(
            f"model: expected a function {function!r} in the module {module!r}, found none."
            + did_you_mean(function, known, f" It has: {', '.join(known) or 'no function'}.")
        )
    made = getattr(found, function)
    if isinstance(made, nn.Module) or not callable(made):
        raise TypeError(
            f"model: expected {module}:{function} to be a function that returns the model; got a "
            f"{type(made).__name__}. Write: def build(): return {function}."
        )
    needed = _required(made)
    if needed:
        raise TypeError(
            f"model: expected {module}:{function} to need no argument; it needs {', '.join(needed)}. Write a "
            "function without arguments around it."
        )
    return made


def _required(function: Callable) -> list[str]:
    """Names of the positional arguments without a default; none where Python cannot tell."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [a.name for a in arguments if a.kind in positional and a.default is inspect.Parameter.empty]


def _require_one_input(model: nn.Module) -> None:
    inner = model.model if isinstance(model, Preprocessed) else model
    needed = _required(inner.forward)
    if len(needed) > 1:
        raise ValueError(
            f"model: expected one input, the images; {type(inner).__name__}.forward needs {len(needed)}: "
            f"{', '.join(needed)}. Wrap it in a module that fixes the others, and say so."
        )


def _require_preprocessing(name: str, preprocessing: Callable, side: int) -> None:
    pixels = torch.full((2, 3, side, side), 0.5)
    takes = f"pixel values in [0, 1], a tensor of shape (N, 3, {side}, {side})"
    try:
        came = preprocessing(pixels.clone())
    except Exception as error:  # a user's code may raise anything
        raise ValueError(
            f"preprocessing: expected the one of {name} to take {takes}; it raised {type(error).__name__}: "
            f"{error}. The photo is read and cut out already: leave out ToTensor() and whatever takes a PIL image."
        ) from error
    if not isinstance(came, Tensor) or came.ndim != 4 or len(came) != 2 or not came.is_floating_point():
        what = (
            f"{came.dtype} of shape {tuple(came.shape)}" if isinstance(came, Tensor) else type(came).__name__
        )
        raise ValueError(
            f"preprocessing: expected the one of {name} to make (N, C, H, W), floating point, of {takes}; for "
            f"N = 2 got {what}."
        )


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs (N, K), K >= 2, finite; everything else raises ValueError."""
    try:
        outputs = model(inputs.clone())  # a model may work in place
    except Exception as error:  # a model may raise anything
        raise ValueError(
            f"model: expected it to take images of shape {tuple(inputs.shape)}; it raised "
            f"{type(error).__name__}: {error}. Set side to the size that it takes; a model of grey images needs a "
            "preprocessing that makes them grey (lambda pixels: pixels.mean(1, keepdim=True))."
        ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"model: expected one tensor of logits, (N, K); got {type(outputs).__name__}. Wrap it in a module "
            "that returns the logits alone."
        )
    if outputs.ndim != 2 or len(outputs) != len(inputs) or not outputs.is_floating_point():
        raise ValueError(
            f"model: expected logits of shape ({len(inputs)}, K), floating point, for {len(inputs)} images; got "
            f"{tuple(outputs.shape)}, {outputs.dtype}. One number for each image and class is explained: average "
            "over places, or wrap it in a module that chooses one."
        )
    if outputs.shape[1] < 2:
        raise ValueError(
            "model: expected at least two classes; got a single column. Return two: torch.cat([-z, z], 1) / 2 "
            "has the same probabilities under softmax as the sigmoid of z."
        )
    if not torch.isfinite(outputs).all():
        raise ValueError(
            "model: expected finite outputs for pixel values in [0, 1]; got NaN or infinity. See whether its "
            "weights were loaded, and whether mean and std are those of pixel values from 0 to 1 (not 0 to 255)."
        )
    return outputs


def _require_gradient(model: nn.Module, inputs: Tensor, classes: Tensor) -> None:
    points = inputs.detach().clone().requires_grad_()
    none = (
        "model: expected a gradient from the outputs to the input; {}. Something in it cuts the gradient off "
        "(detach, no_grad, argmax, round, a detour through numpy): a saliency map needs it."
    )
    with torch.enable_grad():
        outputs = model(points)
        if not outputs.requires_grad:
            raise ValueError(none.format("none arrives"))
        own = outputs.gather(1, classes[:, None]).sum()
        try:
            (gradient,) = torch.autograd.grad(own, points, allow_unused=True)
        except RuntimeError as error:
            raise ValueError(none.format(f"torch says: {str(error).splitlines()[0]}")) from error
    if gradient is None or not gradient.any():
        raise ValueError(none.format("none arrives" if gradient is None else "all that arrive are 0"))
    if not torch.isfinite(gradient).all():
        raise ValueError(
            "model: expected finite gradients; got NaN or infinity at two images of random pixels."
        )


def _names(wanted: str | Path, own: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """K class names."""
    if not str(wanted):
        return own if len(own) == classes else tuple(f"class {index}" for index in range(classes))
    if wanted == IMAGENET:
        names = models.ResNet50_Weights.DEFAULT.meta["categories"]
    else:
        path = Path(wanted)
        if not path.is_file():
            raise FileNotFoundError(
                f"class_names: expected a text file with one name a line, or {IMAGENET!r}; got {str(wanted)!r}, "
                "and there is no such file."
            )
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"class_names: expected {path} to be text in UTF-8; got: {error}. Save it anew."
            ) from error
        names = [line.strip() for line in text.rstrip().splitlines()]
    if len(names) != classes:
        raise ValueError(
            f"class_names: expected {classes} names, one for each of the model's outputs; got {len(names)} in "
            f"{str(wanted)!r}."
        )
    return tuple(names)


@dataclass(frozen=True)
class ImageSet:
    """Images that are read when they are needed: a folder's, or the bundled photographs.

    Attributes:
        names: path in the folder, with "/"; or the bundled name.
        sources: the file, or the bundled name.
        labels: class index of each image; None: no labels.csv.
        passed_over: which files of the folder are not among them, and why, a line each.

    Example:
        >>> images = image_set(limit=2)
        >>> len(images), images.names, images.load(1, 32).shape
        (2, ('chelsea', 'coffee'), torch.Size([3, 32, 32]))
    """

    names: tuple[str, ...]
    sources: tuple[str | Path, ...]
    labels: tuple[int, ...] | None
    passed_over: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def first(self, count: int) -> "ImageSet":
        """The first of them; all, if there are no more."""
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, names=self.names[:count], sources=self.sources[:count], labels=labels)

    def load(self, number: int, side: int) -> Tensor:
        """One image, its middle square: float32, (3, side, side), in [0, 1].

        Raises:
            FileNotFoundError, ValueError: as `helpers.zoo.photographs.load_photo`.
        """
        source = self.sources[number]
        return (load_photo if isinstance(source, Path) else photograph)(source, side).image

    def digest(self, number: int) -> str:
        """SHA-256 of an image's file, hexadecimal."""
        source = self.sources[number]
        if isinstance(source, Path):
            return hashlib.sha256(source.read_bytes()).hexdigest()
        return BUNDLED[source].sha256

    def read(self, side: int, numbers: Iterable[int]) -> tuple[dict[int, Tensor], dict[str, str]]:
        """Those images that can be read, by number, as `load` gives them; and name -> reason of the others."""
        images, skipped = {}, {}
        for number in numbers:
            try:
                images[number] = self.load(number, side)
            except (OSError, ValueError) as error:
                skipped[self.names[number]] = str(error)
        return images, skipped

    def stack(
        self, side: int, numbers: Iterable[int] | None = None
    ) -> tuple[Tensor, list[int], dict[str, str]]:
        """Several images at once; those that cannot be read are left out and named.

        Args:
            numbers: which ones; None: all.

        Returns:
            Pixels (M, 3, side, side); the number of each of the M; name -> reason of those that were left out.

        Raises:
            ValueError: none of them can be read.
        """
        images, skipped = self.read(side, range(len(self)) if numbers is None else numbers)
        if not images:
            raise ValueError(
                f"images: expected at least one that can be read; of {len(skipped)} none can. The first: "
                f"{next(iter(skipped.values()), 'there are none')}"
            )
        return torch.stack(list(images.values())), list(images), skipped


def image_set(folder: str | Path = "", limit: int = 0, classes: int | None = None) -> ImageSet:
    """The images of a folder, those in the folders inside it too; or the bundled photographs.

    Args:
        folder: with a ``labels.csv`` (`zoo.photographs.photo_folder`), the images that it lists, in its order;
            without one, all files with an ending that Pillow reads, by name, hidden ones left out. "": the
            bundled photographs, which have no labels.
        limit: at most that many, the first; 0: all.
        classes: K, the number of classes that labels may name; None: any.

    Raises:
        FileNotFoundError: no such folder, or an image of labels.csv that is not there.
        ValueError: no images in it, a label of K or more, a limit below 0, and what
            `photo_folder` raises.

    Example:
        >>> image_set().names[:3]  # the bundled photographs
        ('chelsea', 'coffee', 'rocket')
    """
    require_count("limit", limit, 0, "0: all")
    if not str(folder):
        found = ImageSet(tuple(BUNDLED), tuple(BUNDLED), None)
    else:
        found = _in_folder(Path(folder))
    for name, label in zip(found.names, found.labels or (), strict=False):
        if classes is not None and label >= classes:
            raise ValueError(
                f"labels.csv: expected class indices from 0 to {classes - 1}, one for each output of the model; "
                f"got {label} for {name}."
            )
    return found.first(limit) if limit else found


def _in_folder(folder: Path) -> ImageSet:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"folder: expected a folder of images; {str(folder.absolute())!r} {what}.")
    if (folder / "labels.csv").is_file():
        listed = photo_folder(folder)
        paths = [path.relative_to(folder) if path.is_relative_to(folder) else path for path, _ in listed]
        names = tuple(path.as_posix() for path in paths)
        return ImageSet(names, tuple(path for path, _ in listed), tuple(label for _, label in listed))
    inside = [(path.relative_to(folder), path) for path in folder.rglob("*") if path.is_file()]
    inside = [(name, path) for name, path in inside if not any(part.startswith(".") for part in name.parts)]
    known = endings()
    found = sorted((name.as_posix(), path) for name, path in inside if path.suffix.lower() in known)
    odd = [name for name, _ in found if _in_utf8(name) != name]
    images = [(name, path) for name, path in found if name not in odd]
    passed = [f"{_in_utf8(name)}: the name is not UTF-8; rename the file" for name in odd]
    others = sorted({path.suffix.lower() for _, path in inside} - known)
    if others:
        shown = ", ".join(_in_utf8(ending) or "none" for ending in others)
        passed.append(f"{len(inside) - len(found)} files with an ending that Pillow does not read ({shown})")
    if not images:
        raise ValueError(
            f"folder: expected images in {str(folder)!r}, files with an ending that Pillow reads (.jpg, .png and "
            f"others); found none among {len(inside)} files{': ' * bool(passed)}{'; '.join(passed)}."
        )
    return ImageSet(*zip(*images, strict=True), None, tuple(passed))


def _in_utf8(name: str) -> str:
    """A file's name as it is, or with the bytes that are not UTF-8 written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def class_number(class_names: Sequence[str], wanted: str, argument: str, others: Sequence[str] = ()) -> int:
    """The number of a class, by its name.

    Args:
        class_names: K names.
        wanted: one of them; or its number in digits, where two classes have one name.
        argument: what the error calls it.
        others: words that the argument may have besides: they are among those that an error suggests.

    Raises:
        ValueError: no such name (the message names the nearest), or two classes of that name.

    Example:
        >>> class_number(("cat", "dog"), "dog", "explained")
        1
        >>> class_number(("cat", "dog"), "dgo", "explained")
        Traceback (most recent call last):
        ValueError: explained: expected the name of one of the model's 2 classes; got 'dgo'. Did you mean 'dog'?
    """
    found = [number for number, name in enumerate(class_names) if name == wanted]
    if not found and str(wanted).isdecimal() and int(wanted) < len(class_names):
        return int(wanted)
    if not found:
        also = f", or one of {', '.join(others)}" if others else ""
        raise ValueError(
            f"{argument}: expected the name of one of the model's {len(class_names)} classes{also}; got "
            f"{wanted!r}." + did_you_mean(wanted, [*others, *class_names])
        )
    if len(found) > 1:
        raise ValueError(
            f"{argument}: expected the name of one class; {wanted!r} is that of {len(found)}. Give one of the "
            f"numbers {', '.join(map(str, found))}."
        )
    return found[0]


def modules_by_name(model: nn.Module, names: Sequence[str]) -> list[nn.Module] | None:
    """The modules of those names, as in ``model.named_modules()``; None for no names.

    A name may leave out the first part, ``model.``, which a preprocessing has put in front.

    Raises:
        ValueError: no such module (the message names the nearest).

    Example:
        >>> modules_by_name(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), ["1"])
        [Linear(in_features=4, out_features=2, bias=True)]
    """
    inside = model.model if isinstance(model, Preprocessed) else model
    known = {name: module for name, module in model.named_modules() if name}
    known |= {name: module for name, module in inside.named_modules() if name}
    for name in names:
        if name not in known:
            raise ValueError(
                f"layers: expected names of the model's modules; got {name!r}."
                + did_you_mean(name, known, f" The first: {', '.join(list(known)[:5])}.")
            )
    return [known[name] for name in names] or None


def peers(
    model: nn.Module, inputs: Tensor, names: Sequence[str] = ("gradient", "Grad-CAM"), seed: int = 0
) -> dict[str, Peer]:
    """Other methods by name, those of `PEERS`.

    Grad-CAM looks at the last feature maps, where there are some at more than one resolution, and is left out
    otherwise: a network with a single one (a vision transformer: its patches) mixes its places afterwards, and a
    map of that layer would not be what Grad-CAM means.

    Args:
        model: an image classifier.
        inputs: at least one image, (N, C, H, W).
        names: which.
        seed: of SmoothGrad's noise.

    Raises:
        ValueError: an unknown name (the message names the nearest).

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
        >>> list(peers(model.eval(), torch.rand(1, 3, 12, 12)))
        ['gradient', 'Grad-CAM']
    """
    lowered = {known.lower(): known for known in PEERS}
    for name in names:
        if name not in PEERS:
            hint = did_you_mean(str(name).lower(), lowered)
            for low, known in lowered.items():
                hint = hint.replace(low, known)
            raise ValueError(f"peers: expected some of {', '.join(PEERS)}; got {name!r}.{hint}")
    last, width = stages(model, inputs[:1]), inputs.shape[-1]
    window, stride = max(1, width // 4), max(1, 3 * width // 16)
    made = {
        "gradient": lambda: Gradient(model),
        "Grad-CAM": lambda: GradCam(model, last[-1]) if len(last) > 1 else None,
        "SmoothGrad": lambda: SmoothGrad(model, samples=16, seed=seed),
        "Occlusion": lambda: Occlusion(model, Blurred(), window, stride),
        "Integrated Gradients": lambda: IntegratedGradients(model, Blurred(), 16),
    }
    found = {name: made[name]() for name in names}
    return {name: peer for name, peer in found.items() if peer is not None}


def untrained(model: nn.Module, seed: int = 0) -> nn.Module:
    """A deep copy of the model with all of its parameters at random (Adebayo et al. 2018, arXiv 1810.03292).

    Drawn anew where a module knows how (`helpers.measure.sanity.randomised`); in those that do not (a transformer's
    tokens and attention, a user's own parameters) each parameter's values change places at random.

    Args:
        seed: of both.

    Example:
        >>> model = nn.Linear(3, 2)
        >>> one, again = untrained(model), untrained(model)
        >>> torch.equal(one.weight, model.weight), torch.equal(one.weight, again.weight)
        (False, True)
    """
    own = {n: m for n, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    drawn = randomised(model, [n for n, m in own.items() if hasattr(m, "reset_parameters")], seed)
    generator = torch.Generator().manual_seed(seed)
    modules = dict(drawn.named_modules())
    with torch.no_grad():
        for name in (n for n, m in own.items() if not hasattr(m, "reset_parameters")):
            for parameter in modules[name].parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return drawn.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class OwnGrids:
    """Grids of the user's images, if there are enough; `own_grids` makes them.

    Attributes:
        grids: None: too few images.
        model: the model that takes the grids: the classifier's own, or one that resizes them first.
        note: where the labels come from, or why there are no grids.
    """

    grids: Grids | None
    model: nn.Module
    note: str


def own_grids(
    classifier: Classifier,
    images: ImageSet,
    count: int = 2,
    cell: int = 0,
    confidence: float = 0.5,
    seed: int = 0,
    batch_size: int = 16,
) -> OwnGrids:
    """2x2 grids of the images, as `helpers.measure.grids.make_grids` draws them.

    An image may stand in a grid if the model finds its label, alone and at the size of a cell, with at least
    that confidence. Without labels the model's own answer is the label: such grids ask whether a map finds
    what the model saw, not whether that is right.

    Args:
        count: how many.
        cell: pixels a side of an image in a grid; 0: half of the model's size, so that a grid has that size.
        confidence: least probability, in [0, 1].
        seed: of what is drawn.
        batch_size: images a pass.

    Raises:
        ValueError: a wrong count or cell, a confidence outside [0, 1], no image that can be read.

    Example:
        >>> own_grids(bring(side=64), image_set(limit=3)).note.partition(":")[0]
        'Grids are left out'
    """
    require_count("count", count)
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence: expected a probability, from 0 to 1; got {confidence!r}.")
    require_count("cell", cell, 0, "pixels a side; 0: half of the model's")
    cell = cell or classifier.size // 2
    pixels, kept, _ = images.stack(cell)
    pixels = pixels.to(device_of(classifier.model))
    wrap = partial(taking, classifier.model, size=classifier.size)
    probabilities = predict(wrap(pixels), pixels, batch_size).softmax(1)
    if images.labels is None:
        targets, source = (
            probabilities.argmax(1),
            "the model's own first class, because there is no labels.csv",
        )
    else:
        targets = torch.tensor([images.labels[number] for number in kept]).to(pixels.device)
        source = "that of labels.csv"
    sure = confident(probabilities, targets, confidence)
    classes = len(torch.unique(targets[sure]))
    model = wrap(pixels[:1].new_zeros(1, 3, 2 * cell, 2 * cell))
    if classes < CELLS:
        note = (
            f"Grids are left out: they take images of at least {CELLS} classes that the model finds with a "
            f"probability of at least {confidence:g} at {cell} pixels; here are {len(sure)} such images, of "
            f"{classes} classes."
        )
        return OwnGrids(None, model, note)
    grids = make_grids(pixels, targets, model, count, confidence, seed, None, probabilities, batch_size)
    return OwnGrids(
        grids, model, f"The class of a cell is {source}; {len(sure)} of {len(pixels)} images qualify."
    )
