"""Tables: features moved alone or one after another, where changes end, all patients at once.

An order of features is judged by moving them: the features of each row are set to those of another point, one
after another in that order, and the model is looked at after each. What really drives a score takes it to the
level in few moves.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from helpers.checks import require_above_0, require_count
from helpers.show.style import (
    COLOUR_MAPS,
    COLOURS,
    MARKERS,
    as_numbers,
    halo,
    shared_legend,
    styled,
)
from helpers.zoo.datasets import Split


def change_table(split: Split, before: Tensor, after: Tensor, largest: int | None = None) -> pd.DataFrame:
    """One example before and after a change, feature by feature, in the raw units of the data.

    Args:
        split: its mean and std undo the standardisation.
        before, after: standardised, (n,) or (1, n).
        largest: keep only this many features, those that change most in standard deviations; None: all.

    Returns:
        Index: the features' names, the largest change first. Columns: before, after, change (raw units) and
        "change / std".

    Raises:
        ValueError: a split that is not standardised, or another number of features.

    Example:
        >>> from helpers.zoo.datasets import wine
        >>> split = wine()
        >>> before = split.test_inputs[0]
        >>> after = before.clone()
        >>> after[0] -= 1
        >>> change_table(split, before, after, largest=1).round(2).to_dict("index")
        {'alcohol': {'before': 14.23, 'after': 13.42, 'change': -0.81, 'change / std': -1.0}}
    """
    if split.mean is None or split.std is None:
        raise ValueError("split: expected a standardised data set, with its mean and std; got one without.")
    names = list(split.feature_names)
    rows = [torch.as_tensor(point).detach().double().cpu().reshape(-1) for point in (before, after)]
    for point in rows:
        if len(point) != len(names):
            raise ValueError(f"before, after: expected {len(names)} features each; got {len(point)}.")
    mean, std = split.mean.double(), split.std.double()
    raw_before, raw_after = (mean + std * point for point in rows)
    table = pd.DataFrame(
        {
            "before": raw_before,
            "after": raw_after,
            "change": raw_after - raw_before,
            "change / std": rows[1] - rows[0],
        },
        index=names,
    )
    order = table["change / std"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order[:largest]]


def scores_while_moving(
    score: Callable[[Tensor], Tensor], inputs: Tensor, ends: Tensor, order: Tensor
) -> Tensor:
    """The score as features are set to another point's, one after another: (n + 1, N).

    Entry k has the first k features of each row's order moved; the first is the score of the input, the last
    that of the other point.

    Args:
        score: from (N, n) to (N,), rows in the given order.
        inputs, ends: (N, n).
        order: (N, n), each row a permutation of 0 to n - 1; or (n,), the same for all.

    Raises:
        ValueError: shapes that differ, or an order that is no permutation.

    Example:
        >>> import torch
        >>> score = lambda x: x[:, 0] + 3 * x[:, 1] - 2
        >>> inputs, ends = torch.ones(1, 2), torch.zeros(1, 2)
        >>> scores_while_moving(score, inputs, ends, order=torch.tensor([1, 0]))[:, 0]
        tensor([ 2., -1., -2.])
    """
    order = _checked_order(inputs, ends, order)
    point, scores = inputs.clone(), []
    with torch.no_grad():
        scores.append(score(point))
        for feature in order.T[:, :, None]:
            point = point.scatter(1, feature, ends.gather(1, feature))
            scores.append(score(point))
    return torch.stack(scores)


def moves_needed(scores: Tensor, level: float = 0.0) -> Tensor:
    """How many features had to move until the score was at the level, or past it: int64, (N,).

    Args:
        scores: (n + 1, N), as `scores_while_moving` gives them.
        level: the score to reach, from the side of the first entry.

    Returns:
        0 to n; n + 1 where the level was never reached.

    Example:
        >>> import torch
        >>> moves_needed(torch.tensor([[2.0, 2.0], [-1.0, 1.0], [-2.0, 0.5]]))  # one move; never
        tensor([1, 3])
    """
    away = (level - scores[0]).sign()
    there = (scores - level) * away >= 0
    never = torch.full_like(away, len(scores), dtype=torch.int64)
    return torch.where(there.any(dim=0), there.int().argmax(dim=0), never)


def greedy_order(
    score: Callable[[Tensor], Tensor], inputs: Tensor, ends: Tensor, level: float = 0.0
) -> Tensor:
    """The order that a search in the model itself finds: always the feature that helps most next: (N, n).

    It asks the model n (n + 1) / 2 times and sees no gradient: a yardstick for orders that come from maps.
    Greedy, so not always the shortest way to the level.

    Args:
        score, inputs, ends: as in `scores_while_moving`.
        level: where the score is to go: features are taken by how far they move it to that side.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import torch
        >>> score = lambda x: x[:, 0] + 3 * x[:, 1] - 2
        >>> inputs, ends = torch.ones(1, 2), torch.zeros(1, 2)
        >>> greedy_order(score, inputs, ends)
        tensor([[1, 0]])
    """
    _checked_order(inputs, ends, torch.arange(inputs.shape[1]))
    point, features = inputs.clone(), inputs.shape[1]
    free = torch.ones_like(inputs, dtype=torch.bool)
    order = []
    with torch.no_grad():
        away = (level - score(point)).sign()
        for _ in range(features):
            gain = torch.full_like(inputs, -torch.inf)
            for i in range(features):
                if free[:, i].any():
                    tried = point.clone()
                    tried[:, i] = ends[:, i]
                    gain[:, i] = score(tried) * away
            best = gain.masked_fill(~free, -torch.inf).argmax(dim=1, keepdim=True)
            point = point.scatter(1, best, ends.gather(1, best))
            free.scatter_(1, best, False)
            order.append(best)
    return torch.cat(order, dim=1)


def _checked_order(inputs: Tensor, ends: Tensor, order: Tensor) -> Tensor:
    if inputs.ndim != 2 or ends.shape != inputs.shape:
        raise ValueError(
            f"inputs, ends: expected the same shape (N, n); got {tuple(inputs.shape)} and {tuple(ends.shape)}."
        )
    features = inputs.shape[1]
    if (
        order.shape not in (inputs.shape, (features,))
        or not (order.sort(dim=-1).values == torch.arange(features, device=order.device)).all()
    ):
        raise ValueError(
            f"order: expected a permutation of 0 to {features - 1}, one for all or one for each of the "
            f"{len(inputs)} rows; got a tensor of shape {tuple(order.shape)} that is not one."
        )
    return order.expand_as(inputs)


@styled
def features_moved(
    score: Callable[[Tensor], Tensor],
    point: Tensor,
    names: Sequence[str],
    features: Sequence[str],
    reach: float = 3.0,
    score_name: str = "log-odds",
    unit: str = "standard deviations",
) -> Figure:
    """The score while one feature moves, for several features, beside what the tangent plane promises.

    Args:
        score: (n,) or (n, 1) of inputs (n, D), differentiable.
        point: the input, (1, D).
        names: of the D features.
        features: those that move, each alone.
        reach: how far either way, above 0.
        score_name, unit: for the axes.

    Raises:
        ValueError: features that are not among the names, or none; a reach that is not above 0.

    Example:
        >>> figure = features_moved(lambda x: x.square().sum(1), torch.ones(1, 2), ["a", "b"], ["b"])
        >>> [text.get_text().split(":")[0] for text in figure.legends[0].get_texts()]
        ['b', 'b']
    """
    require_above_0("reach", reach)
    unknown = [feature for feature in features if feature not in names]
    if unknown or not features:
        raise ValueError(f"features: expected at least one of {', '.join(names)}; got {unknown or 'none'}.")
    start = point.detach().clone().requires_grad_()
    (slopes,) = torch.autograd.grad(score(start).sum(), start)
    moves = torch.linspace(-reach, reach, 121, dtype=point.dtype)
    figure = Figure(figsize=(6.4, 3.9))
    axes = figure.subplots()
    for k, feature in enumerate(features):
        index = list(names).index(feature)
        moved = point.detach().repeat(len(moves), 1)
        moved[:, index] += moves
        with torch.no_grad():
            real, here = score(moved).flatten(), score(point).flatten()
        look = {"color": COLOURS[k % len(COLOURS)]}
        axes.plot(moves, real, **look, label=f"{feature}: the model")
        axes.plot(moves, here + slopes[0, index] * moves, "--", **look, label=f"{feature}: the tangent")
    axes.plot([0.0], here, "*", color="black", markersize=12)
    axes.axhline(0.0, color="black", linewidth=1.0)
    axes.annotate("even odds", (-reach, 0.0), (2, 3), textcoords="offset points", fontsize=9)
    axes.set(xlabel=f"change of one measurement ({unit})", ylabel=score_name)
    axes.grid(True)
    shared_legend(figure, axes, columns=2)
    return figure


@styled
def ends_figure(
    points: Tensor,
    start: Tensor,
    ends: Mapping[str, tuple[Tensor, Tensor]],
    x_label: str,
    y_label: str,
    floor: float | None = None,
    floor_text: str = "",
) -> Figure:
    """Where changes end in a plane of two quantities: all ends as dots, with a legend; one example's with an arrow.

    Args:
        points: the data, (N, 2), in grey.
        start: the example, (2,), a star.
        ends: name -> (the example's end (2,), all ends (M, 2)).
        x_label, y_label: of the two quantities.
        floor: of the second quantity: what is below is shaded; None: nothing is.
        floor_text: stands there.

    Raises:
        ValueError: no ends.

    Example:
        >>> ends = {"alone": (torch.tensor([1.0, 0.2]), torch.rand(5, 2))}
        >>> figure = ends_figure(torch.rand(9, 2), torch.tensor([0.5, 0.5]), ends, "radius", "roundness")
        >>> [text.get_text() for text in figure.axes[0].texts if text.get_text()]
        ['alone']
    """
    if not ends:
        raise ValueError("ends: expected at least one; got none.")
    figure = Figure(figsize=(7.4, 4.2))
    axes = figure.subplots()
    cloud, start = as_numbers(points), as_numbers(start)
    axes.plot(*cloud.T, "o", markersize=3.5, color="0.78", markeredgewidth=0, label="patients")
    for k, (name, (end, every)) in enumerate(ends.items()):
        look = {"color": COLOURS[k + 1]}
        dots = look | {"markersize": 4, "alpha": 0.45, "markeredgewidth": 0}
        axes.plot(*as_numbers(every).T, MARKERS[k + 1], **dots, label=f"after the change, {name}")
        end = as_numbers(end)
        axes.annotate("", end, start, arrowprops=look | {"arrowstyle": "-|>", "linewidth": 2.2})
        text = axes.annotate(name, end, (7, -3), textcoords="offset points", fontsize=11, **look)
        text.set_path_effects(halo(3))
    axes.plot(*start, "*", color="black", markersize=13)
    if floor is not None:
        low = min(axes.get_ylim()[0], floor)
        axes.axhspan(low, floor, color="0.9", zorder=0)
        place = (0.99, 0.03)
        axes.annotate(floor_text, place, xycoords="axes fraction", ha="right", fontsize=10, color="0.35")
        axes.set_ylim(bottom=low)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(loc="upper right", frameon=False, fontsize=10, markerscale=1.6)
    return figure


@styled
def patients_figure(
    values: Tensor,
    scores: Tensor,
    feature_names: Sequence[str],
    largest: int | None = None,
    marked: Tensor | None = None,
    value_label: str = "contribution",
    score_label: str = "log-odds",
    percentile: float = 99.0,
) -> Figure:
    """Every example in one view: its score above, its map below, one column an example, ordered by the score.

    Args:
        values: maps, (N, n).
        scores: (N,).
        feature_names: n names.
        largest: draw only this many features, those with the largest mean magnitude; None: all. The largest
            stands on top.
        marked: bool, (N,): examples that get a cross (for example those that are classified wrongly).
        value_label: of the colour bar, with its unit.
        score_label: of the upper axis.
        percentile: of the magnitudes, where the colours end.

    Raises:
        ValueError: shapes that do not go together, or values that are not finite.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.1, 2.0], [0.2, -3.0]])
        >>> figure = patients_figure(values, values.sum(1), ["texture", "radius"])
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]  # the larger one on top
        ['radius', 'texture']
    """
    heights, line = as_numbers(values), as_numbers(scores)
    if heights.ndim != 2 or line.shape != heights.shape[:1] or heights.shape[1] != len(feature_names):
        raise ValueError(
            f"values, scores: expected shapes (N, {len(feature_names)}) and (N,); got {heights.shape} and "
            f"{line.shape}."
        )
    if not (np.isfinite(heights).all() and np.isfinite(line).all()):
        raise ValueError("values, scores: expected finite numbers; got NaN or infinity.")
    columns = np.argsort(-line, kind="stable")
    rows = np.argsort(-np.abs(heights).mean(axis=0), kind="stable")[:largest]
    picture = heights[np.ix_(columns, rows)].T
    limit = max(float(np.percentile(np.abs(picture), percentile)), np.finfo(float).tiny)
    figure = Figure(figsize=(8.6, 1.9 + 0.19 * len(rows)))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, max(0.19 * len(rows), 1)])
    places = np.arange(len(line))
    above.axhline(0, color="black", linewidth=0.8)
    above.plot(places, line[columns], color=COLOURS[0], drawstyle="steps-mid")
    if marked is not None:
        crossed = as_numbers(marked).astype(bool)[columns]
        cross = {"marker": "X", "markersize": 7, "color": COLOURS[1], "markeredgecolor": "white"}
        above.plot(places[crossed], line[columns][crossed], linestyle="none", **cross)
    above.set(ylabel=textwrap.fill(score_label, 14))
    above.grid(True)
    mesh = below.imshow(picture, cmap=COLOUR_MAPS["signed"], vmin=-limit, vmax=limit, aspect="auto")
    below.set_yticks(range(len(rows)), [feature_names[i] for i in rows])
    below.set(xlabel=f"examples, ordered by their {score_label}")
    figure.colorbar(mesh, ax=below, label=value_label, extend="both", fraction=0.03, pad=0.01)
    return figure


@styled
def groups_figure(
    cases: Mapping[str, tuple[Tensor, Tensor]], x_label: str, y_label: str, groups: int = 4
) -> Figure:
    """The mean of one number over groups of examples, sorted by another: one line a case, named at its end.

    Args:
        cases: name -> (what sorts, what is averaged), (N,) each.
        x_label, y_label: of the groups, from the smallest to the largest, and of the mean.
        groups: of one size (up to one example), at least 1.

    Raises:
        ValueError: no case, lengths that differ, or fewer examples than groups.

    Example:
        >>> figure = groups_figure({"tanh": (torch.arange(8.0), torch.arange(8.0))}, "miss", "saved", groups=2)
        >>> figure.axes[0].get_lines()[-1].get_ydata().tolist()
        [1.5, 5.5]
    """
    require_count("groups", groups)
    if not cases or any(len(x) != len(y) or len(x) < groups for x, y in cases.values()):
        raise ValueError(f"cases: expected at least one, each with as many x as y, and at least {groups}.")
    figure = Figure(figsize=(6.8, 3.6))
    axes = figure.subplots()
    axes.axhline(0.0, color="black", linewidth=1.0)
    for k, (name, (x, y)) in enumerate(cases.items()):
        parts = np.array_split(as_numbers(y)[np.argsort(as_numbers(x), kind="stable")], groups)
        heights = [float(part.mean()) for part in parts]
        look = {"color": COLOURS[k % len(COLOURS)]}
        axes.plot(range(groups), heights, marker=MARKERS[k % len(MARKERS)], **look)
        end = (groups - 1, heights[-1])
        axes.annotate(name, end, (9, -4), textcoords="offset points", fontsize=11, **look)
    ticks = ["" for _ in range(groups)]
    ticks[0], ticks[-1] = "smallest", "largest"
    axes.set_xticks(range(groups), ticks)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.2, groups - 0.3))
    axes.grid(True, axis="y")
    return figure
