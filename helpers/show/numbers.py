"""Bars, curves and points with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from helpers.measure.depths import LINEAR, NONLINEAR
from helpers.measure.statistics import log_log_slope
from helpers.show.style import COLOURS, HATCHES, as_numbers, line_style, shared_legend, styled


@styled
def depth_curve(summary: pd.DataFrame, title: str = "") -> Figure:
    """Rank AUC of the linear and of the nonlinear member over the depth, and the tangent's residual below it.

    Args:
        summary: of `per_depth`.

    Returns:
        Two axes with a common horizontal one: the depth, 0 the input. Bands are the intervals. The residual is
        on a logarithmic scale where all of it is positive.

    Raises:
        ValueError: columns that are missing, or no rows.

    Example:
        >>> import pandas as pd
        >>> names = [name + end for name in (LINEAR, NONLINEAR, "residual") for end in ("", " low", " high")]
        >>> summary = pd.DataFrame([[0.6, 0.5, 0.7, 0.8, 0.7, 0.9, 2.0, 1.0, 4.0]] * 3, columns=names)
        >>> [axes.get_ylabel().splitlines()[0] for axes in depth_curve(summary).axes]
        ['rank AUC (mean)', "tangent's residual"]
    """
    wanted = [f"{name}{end}" for name in (LINEAR, NONLINEAR, "residual") for end in ("", " low", " high")]
    missing = [name for name in wanted if name not in summary.columns]
    if missing or not len(summary):
        raise ValueError(
            f"summary: expected rows with the columns of per_depth; got {len(summary)} rows without "
            f"{', '.join(missing) or 'any'}."
        )
    figure = Figure(figsize=(7.2, 5.4))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    lines = zip((top, top, below), (LINEAR, NONLINEAR, "residual"), (1, 0, 2), strict=True)
    for axes, name, number in lines:
        band = {"color": COLOURS[number], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(summary.index, summary[f"{name} low"], summary[f"{name} high"], **band)
        axes.plot(summary.index, summary[name], **line_style(number), markersize=5, label=name)
        axes.grid(True)
    top.axhline(0.5, color="black", linestyle=":", linewidth=1.2, label="chance")
    top.set(ylabel="rank AUC (mean)", title=title)
    top.legend(loc="best", ncols=3)
    positive = bool((summary[["residual", "residual low", "residual high"]] > 0).all(axis=None))
    below.set(
        xlabel="depth (0: the input; then the network's blocks)",
        ylabel="tangent's residual\n/ change (median)",
        yscale="log" if positive else "linear",
    )
    if positive:
        # plain numbers at 1, 2 and 5: powers of ten would leave a narrow range without a tick
        below.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        below.yaxis.set_major_formatter("{x:g}")
        below.yaxis.set_minor_locator(NullLocator())
    below.axhline(1.0, color="black", linestyle=":", linewidth=1.2)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def bars(
    values: Mapping[str, Tensor | Sequence[float]],
    feature_names: Sequence[str],
    largest: int | None = None,
    label: str = "contribution to the score",
    title: str = "",
) -> Figure:
    """Grouped horizontal bars: what each method gives to each feature.

    Args:
        values: name of the method -> (n,) or (1, n), one value a feature, all in one unit.
        feature_names: n names.
        largest: draw only this many features, those with the largest magnitude under any method, largest first;
            None: all, in the given order.
        label: of the horizontal axis, with its unit.

    Raises:
        ValueError: no method, another number of values than names, or values that are not finite.

    Example:
        >>> values = {"flow": [0.1, -2.0, 0.5], "tangent": [1.0, 0.0, 0.0]}
        >>> (axes,) = bars(values, feature_names=["radius", "area", "texture"], largest=2).axes
        >>> [label.get_text() for label in axes.get_yticklabels()]
        ['area', 'radius']
    """
    if not values:
        raise ValueError("values: expected at least one method; got none.")
    heights = {name: as_numbers(height).reshape(-1) for name, height in values.items()}
    for name, height in heights.items():
        if height.shape != (len(feature_names),) or not np.isfinite(height).all():
            raise ValueError(
                f"values: expected {len(feature_names)} finite values, one a feature name, for {name!r}; got "
                f"shape {height.shape}."
            )
    order = np.arange(len(feature_names))
    if largest is not None:
        size = np.max([np.abs(h) for h in heights.values()], axis=0)
        order = np.argsort(-size, kind="stable")[:largest]
    figure = Figure(figsize=(6.4, 0.9 + len(order) * (0.12 + 0.16 * len(heights))))
    axes = figure.subplots()
    thickness = 0.8 / len(heights)
    for k, (name, height) in enumerate(heights.items()):
        place = np.arange(len(order)) + (k - (len(heights) - 1) / 2) * thickness
        look = {"color": COLOURS[k % len(COLOURS)], "hatch": HATCHES[k % len(HATCHES)]}
        axes.barh(place, height[order], thickness, edgecolor="white", linewidth=0, label=name, **look)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(order)), [feature_names[i] for i in order])
    axes.invert_yaxis()
    axes.set(xlabel=label, title=title)
    axes.grid(True, axis="x")
    if len(heights) > 1:
        shared_legend(figure, axes, columns=min(len(heights), 4))
    return figure


@styled
def convergence(
    sizes: Sequence[float] | Tensor,
    errors: Mapping[str, Sequence[float] | Tensor],
    x_label: str = "|level - score at the input|",
    y_label: str = "error",
    title: str = "",
) -> Figure:
    """Errors against a size, both logarithmic, with the fitted slope of each curve in the legend.

    Args:
        sizes: (T,), positive.
        errors: name -> (T,), not negative. A zero has no place on a logarithmic axis: it is left out of curve
            and fit, and the legend says how many were.

    Raises:
        ValueError: lengths that differ, or values that are negative or not finite.

    Example:
        >>> errors = {"flow": [0.01, 0.04, 0.16], "tangent": [0.0, 0.0, 0.0]}
        >>> (legend,) = convergence([0.1, 0.2, 0.4], errors).legends
        >>> [text.get_text() for text in legend.get_texts()]
        ['flow: slope 2.00', 'tangent: exactly 0 everywhere']
    """
    x = as_numbers(sizes)
    figure = Figure(figsize=(5.4, 3.8))
    axes = figure.subplots()
    for k, (name, error) in enumerate(errors.items()):
        style = line_style(k)
        y = as_numbers(error)
        kept = y > 0 if y.shape == x.shape else np.ones(1, dtype=bool)
        if kept.any():
            slope = log_log_slope(x, y)
            dropped = f", {(~kept).sum()} exact" if not kept.all() else ""
            curve = f"{name}: slope {slope:.2f}{dropped}"
            axes.loglog(x[kept], y[kept], **(style | {"linestyle": "none"}))
            middle = np.exp(np.log(x[kept]).mean()), np.exp(np.log(y[kept]).mean())
            fit = middle[1] * (x[kept] / middle[0]) ** slope
            axes.loglog(x[kept], fit, **(style | {"marker": "none"}), linewidth=1.2)
        else:
            style["linestyle"] = "none"
            curve = f"{name}: exactly 0 everywhere"
        axes.plot([], [], **style, label=curve)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(True)
    # Two long labels side by side would be cut off at the page's edge.
    longest = max(len(text) for text in axes.get_legend_handles_labels()[1])
    shared_legend(figure, axes, columns=2 if longest <= 30 else 1)
    return figure


@styled
def dots_with_intervals(
    table: pd.DataFrame,
    chance: float | None = 0.5,
    label: str = "rank AUC (chance 0.5)",
    title: str = "",
) -> Figure:
    """Means with their intervals, one line a method, one marker a part of the cases.

    Args:
        table: columns method, part, mean, low, high, as `helpers.measure.statistics.summarise` gives them.
        chance: where to draw the line of chance; None: none.
        label: of the horizontal axis.

    Raises:
        ValueError: columns that are missing, or an empty table.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"method": ["ours", "peer"], "part": "all classes", "mean": [0.9, 0.7]})
        >>> figure = dots_with_intervals(table.assign(low=table["mean"] - 0.05, high=table["mean"] + 0.05))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['ours', 'peer']
    """
    missing = [c for c in ("method", "part", "mean", "low", "high") if c not in table.columns]
    if missing or not len(table):
        raise ValueError(
            f"table: expected rows with the columns method, part, mean, low, high; got {len(table)} rows "
            f"with {', '.join(map(str, table.columns))}."
        )
    methods, parts = list(table["method"].unique()), list(table["part"].unique())
    figure = Figure(figsize=(6.8, 1.2 + len(methods) * (0.16 + 0.13 * len(parts))))
    axes = figure.subplots()
    for k, part in enumerate(parts):
        rows = table[table["part"] == part]
        shift = (k - (len(parts) - 1) / 2) * 0.6 / len(parts)
        place = [methods.index(name) + shift for name in rows["method"]]
        # a mean may leave an interval without width by a rounding
        below, above = (rows["mean"] - rows["low"]).clip(lower=0), (rows["high"] - rows["mean"]).clip(lower=0)
        look = line_style(k) | {"linestyle": "none", "markersize": 6, "capsize": 3, "linewidth": 1.4}
        axes.errorbar(rows["mean"], place, xerr=[below, above], label=part, **look)
    if chance is not None:
        axes.axvline(chance, color="black", linestyle="--", linewidth=1.2, label="chance")
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set(xlabel=label, title=title)
    axes.grid(True, axis="x")
    shared_legend(figure, axes, columns=4)
    return figure
