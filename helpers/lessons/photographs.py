"""What notebook 08 draws: a photograph that comes back square by square, in the order of a map."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from helpers.measure.faithfulness import Fill, perturbed, probability
from helpers.show.maps import as_picture, draw_image
from helpers.show.style import COLOURS, percent_text, styled
from helpers.zoo.networks import predict

LARGE = 11


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
    for panel, colour, (name, copy) in zip(row, COLOURS, copies.items(), strict=False):
        draw_image(panel, as_picture(copy[0].clamp(0, 1)))
        panel.set_title(f"{name}: {percent_text(lines[name][count])}", fontsize=LARGE, color=colour)
        shares = torch.linspace(0, 1, steps + 1).tolist()
        axes.plot(shares, lines[name], color=colour, linewidth=1, alpha=0.35)
        axes.plot(shares[: count + 1], lines[name][: count + 1], color=colour, linewidth=2.2)
        axes.plot(shares[count], lines[name][count], "o", color=colour, markersize=6, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, max(0.05, 1.12 * max(map(max, lines.values())))))
    axes.set_xlabel("share of the squares back", fontsize=LARGE - 1)
    axes.set_title("probability of the class", fontsize=LARGE)
    axes.locator_params(nbins=4)
    return figure
