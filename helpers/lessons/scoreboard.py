"""The scoreboard: the measured tables of benchmarks/, their figures, and the rules of the verdicts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.files import ROOT
from helpers.measure.faithfulness import rank_agreement
from helpers.measure.grids import cell_maps, grid_pointing, make_grids
from helpers.measure.peers import standard_peers
from helpers.saliency import (
    GeometricMean,
    Input,
    Layer,
    Logit,
    NonlinearSaliency,
    Softmax,
    Straight,
    Stretch,
    stages,
)
from helpers.show.style import COLOUR_MAPS, COLOURS, MARKERS, line_style, shared_legend, styled
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net

FOLDER = ROOT / "benchmarks"
OURS = "nonlinear (preset)"
PARTS = ("best-ranked class", "other classes")
EQUAL, BETTER, NEITHER, TOO_FEW = "equal or better", "better", "not shown", "too few images"
FEWEST = 10


def table(name: str) -> pd.DataFrame:
    """A measured table, named after its bench: "specificity" (a row a task, method, smoothing and part), "depths",
    or "faithfulness" (a row a task, method, metric, fill, score and rank).

    Raises:
        FileNotFoundError: it has not been measured; the message says how.

    Example:
        >>> sorted(table("specificity")["task"].unique())
        ['bundled photographs', 'digits', 'photographs']
    """
    file = FOLDER / f"{name}.csv"
    if not file.is_file():
        raise FileNotFoundError(
            f"benchmarks/{name}.csv: no such table; `python -m benchmarks.{name}` writes it."
        )
    return pd.read_csv(file)


def chosen(rows: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of a task at the smoothing that each method chose, the best for the other classes first.

    Example:
        >>> rows = chosen(table("specificity"), "digits")
        >>> sorted(rows["part"].unique())
        ['all classes', 'best-ranked class', 'other classes']
    """
    found = rows[(rows["task"] == task) & rows["chosen"].astype(bool)]
    others = found[found["part"] == "other classes"].set_index("method")["rank_auc"]
    order = found["method"].map(others).rank(ascending=False, method="first")
    return found.assign(order=order).sort_values(["order", "part"], kind="stable").drop(columns="order")


def verdicts(rows: pd.DataFrame, task: str, rivals: Sequence[str], margin: float = 0.01) -> pd.DataFrame:
    """Ours against each peer, one row a peer, one column a part.

    "better": the interval of the difference is above 0, after Holm's correction; "equal or better": its lower
    end is above -margin; else "not shown". With fewer than `FEWEST` images the verdict is "too few images".

    Args:
        rivals: beginnings of the methods' names.

    Raises:
        ValueError: a rival that the task has no row of.

    Example:
        >>> verdicts(table("specificity"), "digits", ["SmoothGrad"]).shape
        (1, 2)
    """
    found = chosen(rows, task)
    result = {}
    for peer in rivals:
        own = found[found["method"].str.startswith(peer)].set_index("part")
        if not len(own):
            raise ValueError(f"rivals: expected methods of {task}; got {peer!r}.")
        result[peer] = {}
        for part in PARTS:
            better = str(own["better"][part]) == "True"
            equal = own["difference_low"][part] > -margin
            verdict = BETTER if better else EQUAL if equal else NEITHER
            result[peer][part] = verdict if own["images"][part] >= FEWEST else TOO_FEW
    return pd.DataFrame(result).T


def pareto(cost: Sequence[float], quality: Sequence[float]) -> np.ndarray:
    """Which points no other beats in both: bool, (n,). Lower cost and higher quality are better.

    Example:
        >>> pareto([1.0, 2.0, 3.0], [0.5, 0.9, 0.8])
        array([ True,  True, False])
    """
    cost, quality = np.asarray(cost, float), np.asarray(quality, float)
    no_costlier = cost[None] <= cost[:, None]
    no_worse = quality[None] >= quality[:, None]
    strictly = (cost[None] < cost[:, None]) | (quality[None] > quality[:, None])
    return ~(no_costlier & no_worse & strictly).any(1)


def front(rows: pd.DataFrame, task: str, part: str = "other classes") -> pd.DataFrame:
    """The rows of the methods that nothing beats in both arithmetic and rank AUC, the cheapest first.

    Controls and oracle cost nothing and compete for nothing: they are left out.

    Example:
        >>> front(table("specificity"), "digits")["method"].tolist()
        ['Grad-CAM, last block', 'nonlinear, at the last block alone']
    """
    found = _that_cost(rows, task, part)
    return found[pareto(found["work"], found["rank_auc"])].sort_values("work")


def _that_cost(rows: pd.DataFrame, task: str, part: str) -> pd.DataFrame:
    """The chosen rows of a task and part whose maps take any arithmetic."""
    found = chosen(rows, task)
    return found[(found["part"] == part) & (found["work"] > 0)]


def at_input_and_depth(model, image, reference, stretch, competitors: int) -> GeometricMean:
    """The map of these tables: the geometric mean of a member at the input and one at the last block.

    At the input the path goes to the reference, and a stretch of it counts; at the block it goes to "nothing is
    active". Both are contrasted with the highest other classes. Every choice is one of
    benchmarks/NOTES.md, 1 to 13.

    Args:
        model: an image classifier. image: one of the size that is to be explained, (1, C, H, W).
        reference: of the member at the input. stretch: shares of the way. competitors: how many others.

    Example:
        >>> import torch
        >>> net = digit_net()
        >>> mean = at_input_and_depth(net, torch.zeros(1, 1, 28, 28), 0.0, (0.2, 0.9), competitors=5)
        >>> [type(each.coordinates).__name__ for each in mean.members]
        ['Input', 'Layer']
    """
    nothing, width = Input(reference=0.0), max(image.shape[2:]) / 14
    places = [
        (Input(reference=reference), Stretch(2, *stretch), width),
        (Layer(stages(model, image)[-1], nothing, carried=False), Straight(2), 0.0),
    ]
    return GeometricMean(
        [
            NonlinearSaliency(
                model, Logit(), place, path=path, readout=Softmax(competitors, smooth, temperature=0.25)
            )
            for place, path, smooth in places
        ]
    )


def measured_anew(count: int, seed: int = 0, smoothing: float = 4.0) -> pd.Series:
    """Mean rank AUC of the digits' preset and of the standard peers on `count` new grids, the best first.

    A check of the table, not a replacement: default settings and one smoothing, where the table's were chosen.

    Raises:
        ValueError: a count below 1.

    Example:
        >>> means = measured_anew(count=1)
        >>> OURS in means.index, bool(means.is_monotonic_decreasing)
        (True, True)
    """
    split, net = mnist5k(), digit_net()
    grids = make_grids(split.test_inputs, split.test_targets, net, count, seed=seed, part="reporting")
    ours = at_input_and_depth(net, grids.images[:1], 0.0, (0.2, 0.9), competitors=5)
    methods = {OURS: ours, **standard_peers(net, net.features[-1], 0.0, window=10)}
    maps = {name: cell_maps(_call(method), grids) for name, method in methods.items()}
    scores = grid_pointing(maps, grids, 1, smoothing, seed=seed, show_progress=False)
    return scores.groupby("method")["rank_auc"].mean().sort_values(ascending=False)


def _call(method):
    return lambda inputs, target: method.attribute(inputs, target=target)


@styled
def curves_figure(rows: pd.DataFrame, task: str, methods: Sequence[str]) -> Figure:
    """Rank AUC over the smoothing that all maps get, one panel a part, one line a method.

    Example:
        >>> figure = curves_figure(table("specificity"), "digits", ["Occlusion"])
        >>> figure.axes[0].get_xlabel()
        'smoothing of every map (px)'
    """
    figure = Figure(figsize=(9.0, 4.4))
    panels = figure.subplots(1, len(PARTS), sharey=True)
    for axes, part in zip(panels, PARTS, strict=True):
        for k, method in enumerate(methods):
            line = rows[(rows["task"] == task) & (rows["method"] == method) & (rows["part"] == part)]
            line = line.sort_values("smoothing")
            axes.plot(line["smoothing"], line["rank_auc"], **line_style(k), label=method)
        axes.axhline(0.5, color="black", linestyle="--", linewidth=1.0)
        axes.set(title=f"{task}: {part}", xlabel="smoothing of every map (px)")
        axes.grid(True)
    panels[0].set_ylabel("rank AUC (chance 0.5)")
    shared_legend(figure, panels[0], columns=3)
    return figure


@styled
def cost_figure(rows: pd.DataFrame, task: str, part: str = "other classes") -> Figure:
    """Rank AUC against the arithmetic of a map, with the front that nothing beats in both.

    Example:
        >>> cost_figure(table("specificity"), "digits").axes[0].get_xlabel()
        'arithmetic of one map, in forward passes'
    """
    found, best = _that_cost(rows, task, part), front(rows, task, part)
    figure = Figure(figsize=(7.6, 4.6))
    axes = figure.subplots()
    axes.plot(best["work"], best["rank_auc"], color="black", linewidth=1.0, drawstyle="steps-post")
    for k, row in enumerate(found.itertuples()):
        # another marker once the colours begin again
        marker = MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]
        look = {"color": COLOURS[k % len(COLOURS)], "marker": marker, "linestyle": "none", "markersize": 8}
        axes.plot(row.work, row.rank_auc, label=row.method, **look)
    axes.set(xscale="log", xlabel="arithmetic of one map, in forward passes")
    axes.set(ylabel="rank AUC (chance 0.5)", title=f"{task}: {part}")
    axes.grid(True)
    figure.legend(loc="outside right center", frameon=False)
    return figure


@styled
def perturbation_figure(rows: pd.DataFrame, task: str, score: str = "log-odds", rank: int = 0) -> Figure:
    """How much better than the preset a method's deletion and insertion are: a row a method, a marker a fill.

    The best on average on top; bars are 95 % intervals of the paired difference. Right of 0 is better than the
    preset: a lower mean of the deletion curve, a higher one of the insertion curve.

    Args:
        rows: the table "faithfulness".
        score: what the curves follow: "log-odds" or "probability".
        rank: 0 for the class that the model puts first, 1 for the second.

    Raises:
        ValueError: nothing was measured of that task, score or rank.

    Example:
        >>> perturbation_figure(table("faithfulness"), "digits").axes[0].get_title()
        'digits: deletion'
    """
    found = perturbations(rows, task, score, rank)
    order = found.groupby("method")["advantage"].mean().fillna(0.0).sort_values().index
    figure = Figure(figsize=(9.6, 0.42 * len(order) + 1.4))
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, metric in zip(panels, ("deletion", "insertion"), strict=True):
        for k, (fill, own) in enumerate(found[found["metric"] == metric].groupby("fill", sort=False)):
            own = own.set_index("method").loc[order]
            middle = own["advantage"]
            place = np.arange(len(order)) + 0.22 * (1 - k)
            ends = [middle - own["advantage_low"], own["advantage_high"] - middle]
            look = line_style(k) | {"linestyle": "none", "label": f"{fill} fill"}
            axes.errorbar(middle, place, xerr=ends, **look)
        axes.axvline(0.0, color="black", linewidth=1.0)
        axes.set(title=f"{task}: {metric}", xlabel=f"better than the preset by ({score})")
        axes.set_yticks(range(len(order)), order)
        axes.grid(True, axis="x")
    shared_legend(figure, panels[0], columns=3)
    return figure


def perturbations(rows: pd.DataFrame, task: str, score: str = "log-odds", rank: int = 0) -> pd.DataFrame:
    """The rows of deletion and insertion of a task; arguments and errors as in `perturbation_figure`.

    Example:
        >>> sorted(perturbations(table("faithfulness"), "digits")["metric"].unique())
        ['deletion', 'insertion']
    """
    found = rows[
        (rows["task"] == task)
        & rows["metric"].isin(["deletion", "insertion"])
        & (rows["score"] == score)
        & (rows["rank"] == rank)
    ]
    if not len(found):
        tasks = ", ".join(rows["task"].unique())
        raise ValueError(
            f"task, score, rank: expected a measured combination (tasks: {tasks}); got {task!r}, {score!r}, "
            f"{rank!r}."
        )
    return found


def duels(found: pd.DataFrame) -> pd.DataFrame:
    """How often the preset is better or worse than each method, by the 95 % interval, over the ways to measure.

    Args:
        found: of `perturbations`.

    Returns:
        One row a method; columns preset better, not shown, preset worse: counts of (metric, fill).

    Example:
        >>> list(duels(perturbations(table("faithfulness"), "digits")))
        ['preset better', 'not shown', 'preset worse']
    """
    others = found[found["method"] != OURS]
    counts = pd.DataFrame(
        {
            "preset better": (others["advantage_high"] < 0).groupby(others["method"], sort=False).sum(),
            "preset worse": (others["advantage_low"] > 0).groupby(others["method"], sort=False).sum(),
        }
    )
    ways = others.groupby("method", sort=False).size()
    counts.insert(1, "not shown", ways - counts.sum(axis=1))
    return counts.rename_axis(None)


def metric_agreement(rows: pd.DataFrame, specificity: pd.DataFrame, task: str, rank: int = 0) -> pd.DataFrame:
    """Do deletion and insertion, by every fill and score, and rank AUC put the methods in the same order?

    Args:
        rows: the table "faithfulness".
        specificity: the table "specificity", for rank AUC at the chosen smoothing: of the best-ranked class for
            rank 0, of the other classes for rank 1.

    Returns:
        (metrics, metrics), as `helpers.measure.faithfulness.rank_agreement`, over the methods of both tables.

    Example:
        >>> metric_agreement(table("faithfulness"), table("specificity"), "digits").shape
        (13, 13)
    """
    both = [perturbations(rows, task, score, rank) for score in ("log-odds", "probability")]
    found = pd.concat(both).sort_values(["metric", "score"], kind="stable")
    names = found["metric"] + ", " + found["fill"] + ", " + found["score"]
    wide = found.assign(name=names).pivot(index="method", columns="name", values="value")[names.unique()]
    auc = chosen(specificity, task)
    wide["rank AUC"] = auc[auc["part"] == PARTS[rank]].set_index("method")["rank_auc"]
    wide = wide.dropna().rename_axis(columns=None)
    return rank_agreement(wide, {name: not name.startswith("deletion") for name in wide.columns})


@styled
def agreement_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Rank agreement between metrics, one panel a task.

    Args:
        tables: task -> (metrics, metrics), of `measure.faithfulness.rank_agreement`; the same metrics in all.

    Example:
        >>> agreement = metric_agreement(table("faithfulness"), table("specificity"), "digits")
        >>> agreement_figure({"digits": agreement}).axes[0].get_title()
        'digits'
    """
    figure = Figure(figsize=(2.7 * len(tables) + 2.6, 3.4))
    panels = np.atleast_1d(figure.subplots(1, len(tables)))
    for axes, (task, table) in zip(panels, tables.items(), strict=True):
        image = axes.imshow(table, cmap=COLOUR_MAPS["signed"], vmin=-1, vmax=1)
        axes.set_title(task)
        numbers = [str(place) for place in range(1, len(table) + 1)]
        named = [f"{name}  {place}" for place, name in zip(numbers, table.index, strict=True)]
        axes.set_xticks(range(len(table)), numbers)
        axes.set_yticks(range(len(table)), named if axes is panels[0] else numbers)
    figure.colorbar(image, ax=list(panels), label="rank correlation over the methods", shrink=0.8)
    return figure
