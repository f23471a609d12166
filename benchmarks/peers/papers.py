"""Peers written after their papers, for the logit: RISE, AGI and iGOS++, with the papers' settings as defaults."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.peers.common import BATCH, Adapter, prepared
from helpers.checks import require_above_0, require_count, require_width
from helpers.saliency import Blurred
from helpers.saliency.values import like

Reference = float | Tensor | Callable[[Tensor], Tensor]


def rise(
    masks: int = 500,
    seed: int = 0,
    cells: int = 7,
    visible: float = 0.5,
    reference: Reference = 0.0,
    centred: bool = True,
) -> Adapter:
    """RISE (Petsiuk, Das & Saenko 2018, arXiv 1806.07421): the mean score of random masks that show a place.

    All classes are read from the same passes.

    Args:
        masks: passes; 4000 and 8000 in the paper.
        seed: of the masks, which do not depend on the image.
        cells: of the coarse grid, along each side.
        visible: the probability that a cell is shown, above 0 and below 1.
        reference: what hidden places show: a number, a tensor, or a function of the image
            (`helpers.saliency.references`). The paper's text has black, the authors' code the data's mean.
        centred: True: the mean score of all masks is taken off, so that positive = supports the class; for so
            many masks that each place is shown equally often, this subtracts a constant. False: as in the
            paper, where scores are probabilities and thus positive.

    Example:
        >>> left = nn.Sequential(nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())  # logits: the light left and right
        >>> map_of_left = rise(masks=200)(left, torch.ones(1, 1, 28, 28), [0])[0]
        >>> bool(map_of_left[:, :7].mean() > 0.01 > map_of_left[:, 21:].abs().mean())
        True
    """
    require_count("rise(masks)", masks)
    require_count("rise(cells)", cells)
    if not 0 < visible < 1:
        raise ValueError(f"rise(visible): expected a probability above 0 and below 1; got {visible!r}.")

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        with prepared(model, image, classes) as pixels, torch.no_grad():
            hidden = like("rise(reference)", reference, pixels)
            shown = random_masks(masks, cells, visible, pixels.shape[2:], seed).to(pixels)
            scores = [
                model(hidden + some * (pixels - hidden))[:, list(classes)] for some in shown.split(BATCH)
            ]
            scores = torch.cat(scores)
            if centred:
                scores = scores - scores.mean(0)
            return torch.einsum("mk,mhw->khw", scores, shown[:, 0]) / (masks * visible)

    return adapter


def random_masks(masks: int, cells: int, visible: float, size: Sequence[int], seed: int) -> Tensor:
    """RISE's masks, (masks, 1, *size), from 0 to 1: coarse random grids, enlarged bilinearly and moved.

    A grid is enlarged to one cell more than the image needs, and cut out at a random place of that cell.

    Example:
        >>> drawn = random_masks(masks=200, cells=7, visible=0.5, size=(28, 30), seed=0)
        >>> drawn.shape, bool((drawn.mean() - 0.5).abs() < 0.02)
        (torch.Size([200, 1, 28, 30]), True)
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    down, right = ceil(height / cells), ceil(width / cells)
    drawn = []
    for _ in range(masks):
        grid = (torch.rand(1, 1, cells, cells, generator=generator) < visible).float()
        y, x = (int(torch.randint(cell, (), generator=generator)) for cell in (down, right))
        whole = interpolate(
            grid, ((cells + 1) * down, (cells + 1) * right), mode="bilinear", align_corners=False
        )
        drawn.append(whole[0, :, y : y + height, x : x + width])
    return torch.stack(drawn)


def agi(competitors: int = 20, step: float = 0.05, iterations: int = 20, seed: int = 0) -> Adapter:
    """Adversarial Gradient Integration (Pan, Li & Zhu 2021, doi 10.24963/ijcai.2021/396), signed.

    From the image, one path to each of some other classes: steps along the sign of the gradient of that class's
    probability, until it is the largest. A class's map is what its logit loses on these paths, gradient times
    step, summed over steps and paths. The paths serve all classes; each point costs one gradient for its step
    and one for each class.

    Args:
        competitors: classes to go to, drawn at random; of a class's own path it gets nothing.
        step: length of a step in each pixel value; values stay between 0 and 1.
        iterations: steps of a path, at most.
        seed: of the draw.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> agi(iterations=2)(digit_net(), torch.ones(1, 1, 28, 28), [1, 7]).shape
        torch.Size([2, 28, 28])
    """
    require_count("agi(competitors)", competitors)
    require_above_0("agi(step)", step)
    require_count("agi(iterations)", iterations)

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        with prepared(model, image, classes) as pixels:
            with torch.no_grad():
                columns = model(pixels).shape[1]
            drawn = torch.randperm(columns, generator=torch.Generator().manual_seed(seed))[:competitors]
            maps = pixels.new_zeros(len(classes), *pixels.shape[2:])
            for goals in drawn.to(pixels.device).split(BATCH):
                points = pixels.repeat(len(goals), 1, 1, 1)
                for _ in range(iterations):
                    logits = model(points.requires_grad_())
                    going = logits.argmax(1) != goals
                    if not going.any():
                        break
                    towards = logits.log_softmax(1).gather(1, goals[:, None]).sum()  # the probability's sign
                    (ascent,) = torch.autograd.grad(towards, points, retain_graph=True)
                    moved = (points + step * ascent.sign()).clamp(0, 1).detach()
                    for row, number in enumerate(classes):
                        logit = logits[going & (goals != number), number].sum()
                        (slope,) = torch.autograd.grad(logit, points, retain_graph=True)
                        maps[row] -= (slope * (moved - points.detach())).sum((0, 1))
                    points, goals = moved[going], goals[going]
        return maps

    return adapter


@dataclass(frozen=True, eq=False)
class Masking:
    """What iGOS++ minimises for one class, as a function of two coarse masks: (2, 1, s, s), 1 = hidden nowhere.

    The first mask keeps places (1) or deletes them (0), the second hides places (1) or inserts them (0); so both
    are 0 where the evidence is. Of the logit it adds up, each a mean over a straight path of `steps` points:
    what the first leaves, minus what the second inserts, and the same for their product; half of it all; then
    `area` times the mean of 1 - product and `roughness` times its bilateral total variation.

    Args:
        score: from points (n, C, H, W) to their scores (n,).
        pixels, hidden: the image and the reference, (1, C, H, W).
    """

    score: Callable[[Tensor], Tensor]
    pixels: Tensor
    hidden: Tensor
    _: KW_ONLY
    steps: int
    area: float
    roughness: float
    noise: float
    generator: torch.Generator

    # 0.01 in squares of normalised units, as in the authors' code, with ImageNet's standard deviation 0.226
    edge = 0.01 * 0.226**2

    def enlarged(self, masks: Tensor) -> Tensor:
        """Bilinearly, to the size of the image."""
        return interpolate(masks, self.pixels.shape[2:], mode="bilinear", align_corners=True)

    def terms(self, masks: Tensor) -> Iterator[Tensor]:
        """The summands one by one, so that a gradient needs the memory of one pass."""
        shares = torch.arange(1, self.steps + 1).to(masks)[:, None, None, None] / self.steps
        ends = self.hidden, self.pixels
        for sign, used in ((1, [0]), (-1, [1]), (1, [0, 1]), (-1, [0, 1])):
            start, end = ends[::sign]
            for some in shares.split(BATCH):
                mask = self.enlarged(masks)[used].prod(0, keepdim=True)
                points = start + some * mask * (end - start)
                noise = torch.randn(points.shape, generator=self.generator).to(points)
                yield sign * self.score(points + self.noise * noise).sum() / (2 * self.steps)
        both = masks.prod(0, keepdim=True)
        yield self.area * (1 - both).abs().mean() + self.roughness * self.variation(both)

    def variation(self, mask: Tensor) -> Tensor:
        """Squared differences of neighbours: of the coarse mask, and of the enlarged one away from edges."""
        total = 0
        for dim in (2, 3):
            flat = (-self.pixels.diff(dim=dim).square().mean(1, keepdim=True) / self.edge).exp()
            total = total + mask.diff(dim=dim).square().mean()
            total = total + (flat * self.enlarged(mask).diff(dim=dim).square()).mean()
        return total / 2

    @torch.no_grad()
    def value(self, masks: Tensor) -> float:
        """The sum, without a gradient."""
        return sum(term.item() for term in self.terms(masks))

    def gradient(self, masks: Tensor) -> Tensor:
        """Its gradient with respect to the masks."""
        masks = masks.clone().requires_grad_()
        return sum(torch.autograd.grad(term, masks)[0] for term in self.terms(masks))


def igos_pp(
    reference: Reference = Blurred(),
    size: int = 28,
    iterations: int = 20,
    steps: int = 20,
    tries: int = 12,
    area: float = 10.0,
    roughness: float = 20.0,
    rate: float = 1000.0,
    noise: float = 0.045,
    seed: int = 0,
) -> Adapter:
    """iGOS++ (Khorram, Lawson & Fuxin 2021, arXiv 2012.15783): masks that delete and insert with few places.

    After I-GOS (Qi, Khorram & Fuxin 2019, arXiv 1905.00954): descent along integrated gradients with a line search,
    for each class alone. The map is 1 - mask, from 0 to 1, enlarged to the image; it has no negative part.

    The paper weighs probabilities against area and roughness. Here logits are, in units of what the image's
    logit has above that of the reference (1 at least), so that the weights keep their meaning.

    Args:
        reference: what masked places show: a number, a tensor, or a function of the image
            (`helpers.saliency.references`); the image blurred, as in the paper.
        size: of the mask along each side, at most that of the image.
        iterations: descents.
        steps: points on each of the four paths of a gradient, and of a try.
        tries: step lengths that a line search tries at most, each a fifth of the one before.
        area, roughness: weights of the mask's area and of its bilateral total variation.
        rate: the first step length of a line search.
        noise: standard deviation of the noise on each point, in pixel values; 0.2 in normalised units.
        seed: of the noise.

    Example:
        >>> from helpers.zoo.networks import digit_net
        >>> peer = igos_pp(reference=0.0, size=7, iterations=1, steps=2, tries=2)
        >>> peer(digit_net(), torch.ones(1, 1, 28, 28), [1]).shape
        torch.Size([1, 28, 28])
    """
    counts = {"size": size, "iterations": iterations, "steps": steps, "tries": tries}
    for name, value in counts.items():
        require_count(f"igos_pp({name})", value, least=2 if name == "size" else 1)
    for name, value in {"area": area, "roughness": roughness, "noise": noise}.items():
        require_width(f"igos_pp({name})", value)
    require_above_0("igos_pp(rate)", rate)

    def adapter(model: nn.Module, image: Tensor, classes: Sequence[int]) -> Tensor:
        maps = []
        with prepared(model, image, classes) as pixels:
            hidden = like("igos_pp(reference)", reference, pixels)
            with torch.no_grad():
                unit = (model(pixels) - model(hidden)).abs().clamp_min(1)[0]
            for number in classes:
                masking = Masking(
                    lambda points, number=number: model(points)[:, number] / unit[number],
                    pixels,
                    hidden,
                    steps=steps,
                    area=area,
                    roughness=roughness,
                    noise=noise,
                    generator=torch.Generator().manual_seed(seed),
                )
                masks = pixels.new_ones(2, 1, *(min(size, side) for side in pixels.shape[2:]))
                for _ in range(iterations):
                    masks = _descended(masking, masks, rate, tries)
                maps.append(1 - masking.enlarged(masks.prod(0, keepdim=True))[0, 0])
        return torch.stack(maps)

    return adapter


def _descended(masking: Masking, masks: Tensor, rate: float, tries: int) -> Tensor:
    """The masks after the longest step that lowers the value by 1e-4 of what the gradient promises, or the last."""
    gradient = masking.gradient(masks)
    before, promised = masking.value(masks), 1e-4 * gradient.square().sum().item()
    for attempt in range(tries):
        length = rate * 0.2**attempt
        moved = (masks - length * gradient).clamp(0, 1)
        if masking.value(moved) <= before - length * promised:
            break
    return moved
