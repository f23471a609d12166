"""What notebook 08 needs: the slope where a map is read, and a photograph that comes back square by square."""

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers.measure.faithfulness import Fill, perturbed, probability
from helpers.saliency import AllDepths
from helpers.saliency.cut import watched
from helpers.saliency.depths import enlarged
from helpers.show.maps import as_picture, draw_image
from helpers.show.style import COLOURS, percent_text, styled
from helpers.zoo.networks import predict

LARGE = 11
LINES = (
    COLOURS[0],
    COLOURS[1],
    COLOURS[6],
    *COLOURS[2:6],
)  # blue and green would be one in a film of few colours


def slope_at_blocks(saliency: AllDepths, images: Tensor, targets: Sequence[int]) -> Tensor:
    """What a nonlinear map would be without its paths: gradient x difference where it is read.

    The ends of the paths, the depths and their equal say stay; at each module the gradient at the image times the
    activation less its mean at the ends takes the place of the integral.

    Args:
        saliency: without a contrast.
        images: (N, C, H, W).
        targets: the explained class of each; its logit is the score.

    Returns:
        Signed maps (N, H, W).

    Example:
        >>> from helpers.saliency import presets
        >>> from helpers.zoo.networks import digit_net
        >>> slope_at_blocks(presets.supports(digit_net(), 0.0), torch.rand(2, 1, 28, 28), [3, 5]).shape
        torch.Size([2, 28, 28])
    """
    layers, x = saliency.read_at(images), images.clone().requires_grad_()
    with watched(layers) as seen:
        logits = saliency.forward_func(x)
    here = [output for (output,) in seen] or [x]
    score = logits[torch.arange(len(x), device=x.device), torch.as_tensor(targets, device=x.device)].sum()
    slopes = torch.autograd.grad(score, here)
    away = [torch.zeros_like(each) for each in here]
    for member in saliency.members:
        # one step is enough to know where a path ends
        short = member.replace(path=dataclasses.replace(member.path, steps=1))
        end = short.explain(images, list(targets)).endpoint
        with torch.no_grad(), watched(layers) as seen:
            saliency.forward_func(end)
        for total, output in zip(away, [output for (output,) in seen] or [end], strict=True):
            total += output / len(saliency.members)
    triples = zip(slopes, here, away, strict=True)
    maps = [enlarged(slope * (h - end), images.shape[-2:]) for slope, h, end in triples]
    maps = torch.cat(maps, 1).detach()
    say = 1 / maps.clamp_min(0).sum((2, 3), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    return (maps * say / say.sum(1, keepdim=True)).sum(1)


def in_words(figure: Figure) -> Figure:
    """A sheet of maps over photographs, each on its own scale, with words in place of the colour bar's numbers.

    A panel on which nothing glows says so.

    Args:
        figure: of `helpers.show.maps.comparison_sheet` with ``over``, ``scale="map"`` and ``signed=False``.

    Example:
        >>> from helpers.show.maps import comparison_sheet
        >>> maps = {"a": torch.zeros(1, 4, 4), "b": torch.ones(1, 4, 4)}
        >>> options = {"image": torch.rand(4, 4), "over": True, "signed": False}
        >>> figure = in_words(comparison_sheet(maps, ["cat"], **options))
        >>> [text.get_text() for axes in figure.axes for text in axes.texts]
        ['nothing\\nabove 0']
    """
    *panels, bar = figure.axes
    bar.set_yticks([0, 1], ["weak", "strong"])
    bar.set_ylabel("")
    for axes in panels:
        if len(axes.images) == 2 and not (axes.images[1].get_array() > 0).any():
            middle = {"ha": "center", "va": "center", "transform": axes.transAxes}
            axes.text(0.5, 0.2, "nothing\nabove 0", fontsize=LARGE, **middle)
    return figure


def restored(
    model: nn.Module,
    image: Tensor,
    target: int,
    maps: Mapping[str, Tensor],
    fill: Fill,
    square: int = 16,
    steps: int = 10,
    size: float = 1.75,
) -> list[Figure]:
    """The frames of a film: an image that is put back, the squares that a map puts first coming first.

    Args:
        model: from images (N, C, H, W) to logits.
        image: (1, C, H, W), values in [0, 1].
        target: the class whose probability is followed.
        maps: one or more, name -> (1, H, W): each has a copy of the image to itself.
        fill: what the image is before, as in `helpers.measure.faithfulness`.
        square: side of a square in pixels.
        steps: how many times squares come back; a frame each, the first after one of them.
        size: width of a panel, in inches.

    Returns:
        Figures of one size: the copies, with the probability above each, and the probabilities so far as lines.

    Raises:
        ValueError: no maps, and what `helpers.measure.faithfulness.perturbed` raises.

    Example:
        >>> from helpers.saliency import Constant
        >>> model = nn.Flatten()
        >>> maps = {"left first": torch.eye(2)[None], "right first": torch.eye(2).flip(1)[None]}
        >>> frames = restored(model, torch.eye(2)[None, None], 0, maps, Constant(0.0), square=1, steps=4)
        >>> len(frames), [axes.get_title() for axes in frames[0].axes[:2]]
        (4, ['left first: 48 %', 'right first: 25 %'])
    """
    if not maps:
        raise ValueError("maps: expected at least one; got none.")
    copies = {name: list(perturbed(image, m, fill, "insertion", square, steps)) for name, m in maps.items()}
    chosen = torch.tensor([target] * (steps + 1), device=image.device)
    lines = {
        name: probability(predict(model, torch.cat(each), 8), chosen).tolist()
        for name, each in copies.items()
    }
    end = next(iter(lines.values()))[-1]
    return [
        _frame({n: each[count] for n, each in copies.items()}, lines, count, end, size)
        for count in range(1, steps + 1)
    ]


@styled
def _frame(copies: Mapping[str, Tensor], lines: Mapping[str, list], count: int, end: float, size: float):
    """One frame: the copies after so many steps, and the lines up to there; what is still to come is pale."""
    figure = Figure(figsize=(size * (len(copies) + 1.45), size + 0.55))
    row = figure.subplots(1, len(copies) + 1, width_ratios=[*[1] * len(copies), 1.3])
    axes, steps = row[-1], len(lines[next(iter(lines))]) - 1
    axes.axhline(end, color="0.6", linewidth=1)
    axes.text(1.03, end, "whole\nphoto", va="center", fontsize=9, color="0.4")
    for panel, colour, (name, copy) in zip(row, LINES, copies.items(), strict=False):
        draw_image(panel, as_picture(copy[0].clamp(0, 1)))
        panel.set_title(f"{name}: {percent_text(lines[name][count])}", fontsize=LARGE - 1, color=colour)
        shares = torch.linspace(0, 1, steps + 1).tolist()
        axes.plot(shares, lines[name], color=colour, linewidth=1, alpha=0.35)
        axes.plot(shares[: count + 1], lines[name][: count + 1], color=colour, linewidth=2.2)
        axes.plot(shares[count], lines[name][count], "o", color=colour, markersize=6, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, max(0.05, 1.12 * max(map(max, lines.values())))))
    axes.set_xlabel("share of the squares back", fontsize=LARGE - 1)
    axes.set_title("probability of the class", fontsize=LARGE)
    axes.locator_params(nbins=4)
    return figure
