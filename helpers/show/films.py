"""A path in frames: what changed, and where the score went."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from helpers.checks import require_above_0, require_count
from helpers.saliency import Explanation, LogOdds, Score
from helpers.saliency.scores import as_score
from helpers.show.landscapes import path_lengths, score_along, scores_at
from helpers.show.maps import (
    LARGE,
    SMALL,
    as_picture,
    as_plane,
    colour_bar,
    colour_limit,
    draw_image,
    draw_map,
    height_to_width,
    percentile_text,
)
from helpers.show.style import as_png, few_colours, number_text, png, show_png, styled, wrapped


def show_film(
    figures: Iterable[Figure], alt: str, seconds: float = 0.4, hold: float = 2.0, colours: int = 64
) -> None:
    """Show figures one after the other, over and over, as one animated PNG; it plays wherever a PNG is shown.

    Args:
        figures: at least two, all of one size, in order. Where nothing moves, the first alone is seen: it must
            make sense by itself.
        alt: as in `helpers.show.style.show`.
        seconds: how long each is seen, above 0.
        hold: how long the last is seen.
        colours: at most so many different ones, 2 to 256: fewer bytes.

    Raises:
        ValueError: fewer than two figures, figures of different sizes, seconds or hold not above 0, no
            description, another number of colours.

    Example:
        >>> import io
        >>> from contextlib import redirect_stdout
        >>> with redirect_stdout(io.StringIO()) as shown:  # without a notebook the description is printed
        ...     show_film([Figure(figsize=(1, 1)) for _ in range(2)], alt="an empty page, twice")
        >>> "twice" in shown.getvalue()
        True
    """
    for name, value in (("seconds", seconds), ("hold", hold)):
        require_above_0(name, value)
    frames = [Image.open(io.BytesIO(png(figure))).convert("RGB") for figure in figures]
    sizes = sorted({frame.size for frame in frames})
    if len(frames) < 2 or len(sizes) > 1:
        raise ValueError(f"figures: expected at least two, of one size; got {len(frames)}, of {sizes}.")
    times = [*[round(1000 * seconds)] * (len(frames) - 1), round(1000 * hold)]
    show_png(as_png(few_colours(frames, colours), alt, times), alt)


@styled
def film_strip(
    explanation: Explanation,
    example: int = 0,
    frames: int = 6,
    score_name: str = "score",
    function: Callable[[Tensor], Tensor] | None = None,
    to_image: Callable[[Tensor], Tensor] | None = None,
    changes: bool = True,
    end_name: str | None = None,
    percentile: float = 99.5,
    size: float = 1.8,
    title: str = "",
) -> Figure:
    """The points of a path as pictures, from the input to the level, with the score under each.

    Args:
        explanation: of images with one or three channels, explained at the input, with ``trace=True``.
        example: which one of the batch.
        frames: how many, at even distances along the path, the first and the last point among them; fewer where
            the path has fewer points.
        score_name: with its unit.
        function: scores (n,) or (n, 1) of points (n, C, H, W), in place of the recorded ones. A straight path
            evaluates the score at its ends only; None: a dash stands where there is none.
        to_image: from points (T, C, H, W) to pixel values in [0, 1], for a model that takes other ones; None:
            as they are. Values beyond [0, 1] are cut, and the title says so.
        changes: whether a second row shows what has changed since the start, channels summed, on one scale.
        end_name: what stands above the last frame; None: whether the level has been reached.
        percentile: of the changes, at which the colours end.
        size: width of a frame, in inches.

    Returns:
        An axes a frame, below it one with the change (none below the first, which is the input), and, with
        changes, a colour bar.

    Raises:
        ValueError: no trace, an example that is not there, points that are no images, fewer than two frames.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> model = lambda x: x.flatten(1).sum(1, keepdim=True)
        >>> inputs = torch.full((1, 1, 4, 4), 0.5)
        >>> run = NonlinearSaliency(model, Logit()).explain(inputs, level=4.0, trace=True)
        >>> [axes.get_xlabel() for axes in film_strip(run, frames=3, changes=False).axes]  # scores on the way
        ['8.00', '6.00', '4.00']
    """
    way = _recorded("explanation", explanation, example)
    require_count("frames", frames, least=2)
    if way.ndim != 4 or way.shape[1] not in (1, 3):
        raise ValueError(
            "explanation: expected the path of images with one or three channels, (T, N, C, H, W); got "
            f"{tuple(explanation.path_points.shape)}. A path at a layer is no film: explain at the input."
        )
    chosen = _evenly(way.cpu(), frames)
    scores = (
        explanation.path_scores[chosen, example] if function is None else scores_at(function, way[chosen])
    )
    way = way[chosen].cpu()
    pixels = (way if to_image is None else to_image(way)).detach().double()
    cut = bool((pixels.min() < -0.01) | (pixels.max() > 1.01))
    note = "values beyond [0, 1] are drawn as 0 or 1" if cut else ""
    # A narrow figure has no room for both on one line.
    heading = f"{title}\n({note})" if title and note else title or note

    rows = 2 if changes and len(way) > 1 else 1
    width = size * len(way) + (1.3 if rows == 2 else 0.3)
    height = rows * size * height_to_width(way.shape[2:]) + 0.85 + 0.28 * len(heading.splitlines())
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, len(way), squeeze=False)
    names = ["input", *[""] * (len(way) - 2), _end_name(explanation, example, end_name)][: len(way)]
    for axes, picture, name, score in zip(grid[0], pixels.clamp(0, 1), names, scores.tolist(), strict=True):
        draw_image(axes, as_picture(picture), name)
        axes.set_xlabel(number_text(score), fontsize=LARGE)
    grid[0][0].set_ylabel(f"{score_name}:", fontsize=SMALL, rotation=0, ha="right", va="top")
    grid[0][0].yaxis.set_label_coords(-0.04, -0.045)
    if rows == 2:
        _draw_changes(figure, grid[1], way, percentile, size)
    if heading:
        figure.suptitle(heading, fontsize=LARGE)
    return figure


@styled
def film_sheet(
    explanations: Mapping[str, Explanation],
    functions: Mapping[str, Callable[[Tensor], Tensor]],
    score_name: str = "score",
    frames: int = 6,
    size: float = 1.2,
) -> Figure:
    """Several paths, a row each: frames from the input to the end, and what someone says of each frame.

    Args:
        explanations: name -> a run of one image, with ``trace=True`` and pixel values in [0, 1] throughout.
        functions: name -> what stands under each frame, from points (n, C, H, W) to numbers (n,).
        score_name: what that number is.
        frames: how many, at even distances along each path.
        size: width of a frame, in inches.

    Returns:
        An axes a frame, row by row.

    Raises:
        ValueError: no runs, runs without a path, other names, fewer than two frames.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> model = lambda x: x.flatten(1).sum(1, keepdim=True)
        >>> run = NonlinearSaliency(model, Logit()).explain(torch.full((1, 1, 4, 4), 0.5), level=4.0, trace=True)
        >>> figure = film_sheet({"darker": run}, {"darker": lambda x: x.mean((1, 2, 3))}, frames=3)
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['0.500', '0.375', '0.250']
    """
    if not explanations or set(explanations) != set(functions):
        raise ValueError(
            f"functions: expected one for each of the runs, {list(explanations)}, and at least one run; got "
            f"{list(functions)}."
        )
    ways = {name: _recorded(name, run, 0) for name, run in explanations.items()}
    require_count("frames", frames, least=2)
    height = size * height_to_width(next(iter(ways.values())).shape[2:]) + 0.3
    figure = Figure(figsize=(size * frames + 1.3, height * len(ways) + 0.4))
    grid = figure.subplots(len(ways), frames, squeeze=False)
    for row, (name, way) in zip(grid, ways.items(), strict=True):
        chosen = way[_evenly(way.cpu(), frames)]
        scores = scores_at(functions[name], chosen)
        for axes in row[len(chosen) :]:
            axes.axis("off")
        for axes, picture, score in zip(row, chosen.cpu(), scores.tolist(), strict=False):
            draw_image(axes, as_picture(picture.double().clamp(0, 1)))
            axes.set_xlabel(number_text(score), fontsize=SMALL)
        row[0].set_ylabel(wrapped(name, 12), fontsize=LARGE, rotation=0, ha="right", va="center")
    figure.suptitle(f"below each frame: {score_name}", fontsize=LARGE)
    return figure


def score_path(
    explanations: Explanation | Mapping[str, Explanation],
    model: Callable[[Tensor], Tensor],
    score: Score | Callable[[Tensor], Tensor] = LogOdds(),
    target: int | None = None,
    example: int = 0,
    score_name: str = "score",
    **options,
) -> Figure:
    """The score along recorded paths, beside what the tangent plane at the input predicts for their points.

    `show.landscapes.score_along` for runs with ``trace=True`` at the input; the dots are the points of the path.

    Args:
        explanations: one, or name -> explanation of the same input.
        model, score, target: those of the runs; of a run with noise the curve is the score without it.
        example: which one of the batch.
        score_name: label of the vertical axis, with its unit.
        options: against, between, title of `helpers.show.landscapes.score_along`.

    Returns:
        One axes a path, side by side, on one scale. The level is drawn where all runs aimed at the same.

    Raises:
        ValueError: no trace, an example that is not there; and what `helpers.show.landscapes.score_along` raises.

    Example:
        >>> import torch
        >>> from helpers.saliency import Logit, NonlinearSaliency
        >>> model = lambda x: x.flatten(1).sum(1, keepdim=True)
        >>> inputs = torch.full((1, 1, 4, 4), 0.5)
        >>> run = NonlinearSaliency(model, Logit()).explain(inputs, level=4.0, trace=True)
        >>> (axes,) = score_path({"flow": run}, model, Logit()).axes
        >>> axes.get_title(), axes.get_xlabel()
        ('flow', 'length of the path')
    """
    named = explanations if isinstance(explanations, Mapping) else {"": explanations}
    ways, levels = {}, []
    for name, explanation in named.items():
        ways[name] = _recorded(f"explanations[{name!r}]", explanation, example)
        levels.append(float(explanation.level[example]))
    value = as_score(score)

    def function(points: Tensor) -> Tensor:
        return value(model(points)) if target is None else value(model(points), target)

    same = levels and np.allclose(levels, levels[0], rtol=1e-6, atol=1e-9)
    figure = score_along(function, ways, level=levels[0] if same else None, score_name=score_name, **options)
    for axes, way in zip(figure.axes, ways.values(), strict=True):
        curve = axes.lines[0]
        length = path_lengths(way)
        if options.get("against", "length") == "share":
            length = length / max(float(length[-1]), np.finfo(float).tiny)
        heights = np.interp(length.cpu(), curve.get_xdata(), curve.get_ydata())
        axes.plot(
            length.cpu(), heights, "o", color=curve.get_color(), markersize=4.5, gid="points of the path"
        )
    return figure


def _evenly(way: Tensor, frames: int) -> list[int]:
    """Numbers of the points nearest to even distances along the path, ascending, none twice."""
    length = path_lengths(way.double())
    if length[-1] == 0:
        return [0]
    # The last point that moves: an example that has arrived stays where it is.
    last = int((length < length[-1]).sum())
    wanted = torch.linspace(0, float(length[-1]), frames, dtype=length.dtype)[1:-1]
    inner = {int((length[: last + 1] - place).abs().argmin()) for place in wanted}
    return sorted({0, last} | inner)


def _end_name(explanation: Explanation, example: int, end_name: str | None) -> str:
    if end_name is not None:
        return wrapped(end_name)
    return f"end: level\n{'' if bool(explanation.converged[example]) else 'not '}reached"


def _draw_changes(figure: Figure, row, way: Tensor, percentile: float, size: float) -> None:
    """What has changed since the first point (T, C, H, W), on one scale, a panel each after the first."""
    planes = [as_plane("explanation", frame - way[0]) for frame in way]
    limit = colour_limit(planes, percentile)
    norm = Normalize(-limit, limit)
    row[0].axis("off")
    place = {"ha": "right", "va": "center", "transform": row[0].transAxes}
    row[0].text(1.0, 0.5, "change\nso far", fontsize=LARGE, **place)
    for axes, plane in zip(row[1:], planes[1:], strict=True):
        draw_map(axes, plane, norm, True, plane.shape, None, size)
    end = textwrap.fill(percentile_text(percentile).strip(), 16)
    colour_bar(figure, norm, True, False, f"change\n{end}".strip(), percentile, 1, row)


def _recorded(name: str, explanation: Explanation, example: int) -> Tensor:
    """The points of one example's path, (T, ...)."""
    if explanation.path_points is None:
        raise ValueError(f"{name}: expected a run with its path; call explain(..., trace=True).")
    count = explanation.path_points.shape[1]
    if isinstance(example, bool) or not isinstance(example, int) or not 0 <= example < count:
        raise ValueError(f"example: expected an integer in [0, {count}); got {example!r}.")
    return explanation.path_points[:, example].detach()
