"""Every method of the benches as one call: the maps of several classes of one image.

The rivals of a contrast are asked of every method, so a call takes all classes at once: passes that serve several
of them are made once. All maps are of the logit, signed (positive = supports the class) unless the method's paper
takes magnitudes, and of the image's size.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from benchmarks import peers
from helpers.lessons.photographs import slope_at_blocks
from helpers.lessons.scoreboard import CONTRASTS, SUPPORTS
from helpers.measure.grids import centre_distance
from helpers.measure.peers import (
    GradCam,
    Gradient,
    InputTimesGradient,
    IntegratedGradients,
    SmoothGrad,
)
from helpers.saliency import (
    AllDepths,
    Blurred,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    OwnMean,
    Softmax,
    Straight,
    StraightTangent,
    fitted,
    presets,
    stages,
)
from helpers.saliency.values import like
from helpers.zoo.networks import DigitVit

Maps = Callable[[Tensor, Sequence[int]], Tensor]  # image (1, C, H, W), K classes -> (K, H, W)

IG, FINER = "Integrated Gradients", "Finer-CAM"
CENTRE, RANDOM = "control: nearness to the centre", "control: uniform random"
OURS = (SUPPORTS, CONTRASTS)
CONTROLS = (CENTRE, RANDOM)
# nonlinear -> what takes the slope at the image in its place
TWINS = {
    SUPPORTS: "linear twin of supports",
    CONTRASTS: "linear twin of contrasts",
    IG: "gradient x difference (twin of IG)",
}
AT_BLOCKS = "linear twin at the blocks"
TEMPERATURE = 0.25  # of the contrast, for all methods


def one_by_one(method) -> Maps:
    """Of something with `attribute`, class by class."""

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        each = [fitted(method.attribute(image, int(label)), image)[0, 0] for label in classes]
        return torch.stack(each).detach()

    return maps


def from_same_passes(method: AllDepths) -> Maps:
    """Of `AllDepths` without a contrast, all classes along the same paths; signed."""

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        first, *others = (int(label) for label in classes)
        run = method.explain(image, first, competitors=others or None)
        return (torch.cat([run.signed, run.competing], 1) if others else run.signed)[0]

    return maps


def occlusion(model: nn.Module, reference, window: int, stride: int) -> Maps:
    """`helpers.measure.peers.Occlusion` of all classes from the same passes: each window is put in once."""

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        fill = like("occlusion(reference)", reference, image).expand_as(image)
        height, width = image.shape[-2:]
        starts = [range(0, size - window + stride, stride) for size in (height, width)]
        places = torch.zeros(len(starts[0]) * len(starts[1]), 1, height, width)
        for number, (top, left) in enumerate(itertools.product(*starts)):
            places[number, :, top : top + window, left : left + window] = 1
        with torch.no_grad():
            whole = model(image)[:, list(classes)]
            parts = [model(torch.where(p > 0, fill, image))[:, list(classes)] for p in places.split(8)]
        lost = whole - torch.cat(parts)
        covered = places[:, 0]
        return torch.einsum("wk,whv->khv", lost, covered) / covered.sum(0)

    return maps


def adapted(adapter: Callable[..., Tensor], model: nn.Module) -> Maps:
    """Of an adapter of `benchmarks.peers`, enlarged to the image."""

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        return fitted(adapter(model, image, list(classes))[:, None], image.expand(len(classes), -1, -1, -1))[
            :, 0
        ]

    return maps


def control(name: str) -> Maps:
    """A map that knows nothing of the model, the same for all classes."""

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        size = image.shape[-2:]
        drawn = torch.rand(size, generator=torch.Generator().manual_seed(0))
        plane = -centre_distance(*size).float() if name == CENTRE else drawn
        return plane.expand(len(classes), *size)

    return maps


def methods_of(model: nn.Module, image: Tensor) -> dict[str, dict[str, Maps]]:
    """Name -> setting -> maps: the settings are those that a method may choose from, equally many gradients each.

    Args:
        model: a classifier from images to logits, a module.
        image: (1, C, H, W); a single channel is taken for digits on an empty ground, whose reference is 0.
    """
    digits, side = image.shape[1] == 1, max(image.shape[-2:])
    last = stages(model, image)[-1]
    references = {"0": 0.0} if digits else {"blurred": Blurred(), "own mean": OwnMean()}
    reference = next(iter(references.values()))
    windows = (10, 6) if digits else (side // 4, side // 8)
    given = 0.0 if digits else None
    supports = presets.supports(model, given)
    contrasts = presets.contrasts(model, reference=given).replace(readout="contribution")
    contrasts = AllDepths(contrasts.members, depths=1)
    at_block = NonlinearSaliency(model, Logit(), Layer(last, Input(reference=0.0)), path=StraightTangent())
    at_input = NonlinearSaliency(model, Logit(), Input(reference=reference), path=StraightTangent())
    found = {
        SUPPORTS: {"": from_same_passes(supports)},
        CONTRASTS: {"": from_same_passes(contrasts)},
        TWINS[SUPPORTS]: {"": from_same_passes(twin(supports))},
        TWINS[CONTRASTS]: {"": from_same_passes(twin(contrasts))},
        "HiResCAM (gradient x activation)": {"": one_by_one(at_block)},
        "Grad-CAM": {"": one_by_one(GradCam(model, last, score=Logit()))},
        "LayerCAM": {"": adapted(peers.layer_cam(last, scaled=False), model)},
        FINER: {"": adapted(peers.finer_cam(last), model)},
        IG: {
            f"8 steps, {name}": one_by_one(IntegratedGradients(model, place, 8, score=Logit()))
            for name, place in references.items()
        },
        TWINS[IG]: {"": one_by_one(at_input)},
        "SmoothGrad": {
            f"8 draws, noise {noise}": one_by_one(SmoothGrad(model, noise, 8, score=Logit()))
            for noise in (0.1, 0.2)
        },
        "Occlusion": {
            f"window {window}": occlusion(model, reference, window, window // 2) for window in windows
        },
        "LRP": {"": adapted(peers.lrp(), model)},
        "input x gradient": {"": one_by_one(InputTimesGradient(model, score=Logit()))},
        "gradient": {
            kind: one_by_one(Gradient(model, magnitude=kind == "magnitude", score=Logit()))
            for kind in ("magnitude", "signed")
        },
    }
    if isinstance(model, DigitVit):
        del found["LRP"]  # the rules that are used here have none for attention
    return found | {name: {"": control(name)} for name in CONTROLS}


def twin(saliency: AllDepths) -> AllDepths:
    """The same with the slope at the image in place of its straight paths; other paths have no such twin."""
    straight = [member for member in saliency.members if isinstance(member.path, Straight)]
    return AllDepths(straight, saliency.layers, saliency.depths).replace(path=StraightTangent())


def twin_at_blocks(saliency: AllDepths) -> Maps:
    """The same ends, depths and weights with the slope at the image where the maps are read, and no path.

    Gradient x activation, as Grad-CAM and HiResCAM take it, against the references of ours.
    """

    def maps(image: Tensor, classes: Sequence[int]) -> Tensor:
        labels = [int(label) for label in classes]
        return slope_at_blocks(saliency, image.expand(len(labels), -1, -1, -1), labels)

    return maps


def contrasted(maps: Tensor, own: int, rivals: Sequence[int]) -> Tensor:
    """A class's map beside its rivals', the same for every method (`helpers.saliency.Softmax`).

    Args:
        maps: (K, H, W), smoothed. own: its place among the maps. rivals: theirs.

    Returns:
        (H, W).
    """
    compare = Softmax(competitors=len(rivals), temperature=TEMPERATURE).compare
    return compare(maps[None, own][:, None], maps[None, list(rivals)][:, :, None])[0, 0]


def chosen(methods: Mapping[str, Mapping[str, Maps]], settings: Mapping[str, str]) -> dict[str, Maps]:
    """Each method in its chosen setting; where nothing was chosen, in its first."""
    return {name: of[settings.get(name, next(iter(of)))] for name, of in methods.items()}
