"""The scoreboard: the measured tables of benchmarks/, their figures, and the rules of the verdicts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from helpers.files import ROOT
from helpers.measure.grids import BEST, OTHERS
from helpers.show.style import COLOURS, MARKERS, shared_legend, styled

FOLDER = ROOT / "benchmarks"
SUPPORTS, CONTRASTS = "nonlinear, supports", "nonlinear, contrasts"
PLAIN, CONTRAST = "plain", "contrast"
# what is no peer: a verdict on ours against it is not corrected together with those on the peers
NO_PEERS = ("nonlinear", "linear twin", "gradient x difference", "control", "presets")
QUESTIONS = (
    "one photograph, first class",
    "one photograph, second class",
    "mosaic, with contrast",
    "inset, with contrast",
    "planted, with contrast",
)
# verdict -> its colour and the mark in its cell: a grey print and every eye can tell them apart
LOOKS = {
    "worse": ("#E69F00", "−"),
    "not shown": ("#E8E8E8", "?"),
    "too few": ("#FFFFFF", ""),
    "no worse": ("#BBD7EA", "="),
    "better": ("#5AA3D0", "+"),
}


def table(name: str) -> pd.DataFrame:
    """A measured table, named after its bench: "single", "pointing", "depths", "sanity", "stability", "verdicts".

    Raises:
        FileNotFoundError: it has not been measured; the message says how.

    Example:
        >>> sorted(table("single")["class"].unique())
        ['first', 'second']
    """
    file = FOLDER / f"{name}.csv"
    if not file.is_file():
        raise FileNotFoundError(f"benchmarks/{name}.csv: no such table; `make bench` writes it.")
    return pd.read_csv(file)


def short(network: str) -> str:
    """A network's name in a figure.

    Example:
        >>> short("efficientnet_lite0"), short("digit_vit")
        ('Lite0', 'ViT')
    """
    known = {"digit_net": "CNN", "digit_vit": "ViT", "all": "all"}
    return known.get(network, network.removeprefix("efficientnet_").capitalize())


def base(method: str) -> str:
    """A method's name without its settings.

    Example:
        >>> base("Integrated Gradients, 16"), base("nonlinear, supports")
        ('Integrated Gradients', 'nonlinear, supports')
    """
    return method if method.startswith("nonlinear") else method.split(",")[0].split(" (")[0]


def wins(single: pd.DataFrame, pointing: pd.DataFrame, part: str = OTHERS) -> pd.DataFrame:
    """The verdict on ours against every method, in each question and network.

    Args:
        single, pointing: the tables of these names.
        part: of the scenes' classes.

    Returns:
        One row a method; columns (question, network): the verdict, or "" where it was not measured. On single
        photographs ours is `presets.supports`, in scenes `presets.contrasts`, and every method has its contrast.

    Example:
        >>> wins(table("single"), table("pointing")).columns.get_level_values(0).unique()[0]
        'one photograph, first class'
    """
    columns = {}
    # it is ours with its own smoothing: the comma is no setting
    pointing = pointing.assign(method=pointing["method"].str.replace("contrasts, as", "contrasts as"))
    settled = single[~single["method"].str.contains(", 64$|100 masks|one path")]
    settled = settled[settled["photos"] == settled["photos"].max()]  # the expensive ones had fewer
    for (rank, network), rows in settled.groupby(["class", "network"], sort=False):
        rows = rows.assign(base=rows["method"].map(base)).drop_duplicates("base").set_index("base")
        columns[f"one photograph, {rank} class", short(network)] = rows["verdict"]
    scenes = pointing[(pointing["part"] == part) & (pointing["variant"] == CONTRAST)]
    for (layout, network), rows in scenes[scenes["network"] != "all"].groupby(
        ["layout", "network"], sort=False
    ):
        rows = rows.assign(base=rows["method"].map(base)).set_index("base")
        columns[f"{layout}, with contrast", short(network)] = rows["verdict"]
    found = pd.DataFrame(columns).fillna("")
    found = found[sorted(columns, key=lambda column: QUESTIONS.index(column[0]))]
    found = found[(found != "").any(axis=1)]
    # the peers first; below them ours with other settings, the twins and the controls
    return found.loc[sorted(found.index, key=lambda name: (name.startswith(NO_PEERS), name.lower()))]


@styled
def wins_figure(found: pd.DataFrame) -> Figure:
    """Heat map of `wins`: a row a method, a column a question and network.

    Example:
        >>> figure = wins_figure(wins(table("single"), table("pointing")))
        >>> len(figure.axes[0].get_yticks()) == len(wins(table("single"), table("pointing")))
        True
    """
    names = list(LOOKS)
    numbers = found.map(lambda word: names.index(word) if word else np.nan).to_numpy(float)
    figure = Figure(figsize=(9.2, 0.32 * len(found) + 1.9))
    axes = figure.subplots()
    colours = ListedColormap([colour for colour, _ in LOOKS.values()])
    norm = BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names))
    axes.imshow(numbers, cmap=colours, norm=norm, aspect="auto")
    for (row, column), number in np.ndenumerate(numbers):
        if np.isfinite(number):
            axes.text(column, row, LOOKS[names[int(number)]][1], ha="center", va="center", fontsize=11)
    questions = found.columns.get_level_values(0)
    axes.set_yticks(range(len(found)), found.index)
    axes.set_xticks(range(found.shape[1]), found.columns.get_level_values(1))
    axes.tick_params(length=0)
    starts = [k for k, name in enumerate(questions) if k == 0 or name != questions[k - 1]]
    for start, end in zip(starts, [*starts[1:], len(questions)], strict=True):
        words = questions[start].replace(", ", "\n")
        axes.text((start + end - 1) / 2, -0.7, words, ha="center", va="bottom", fontsize=9)
        if start:
            axes.axvline(start - 0.5, color="black", linewidth=1.2)
    for name in reversed(names):
        colour, mark = LOOKS[name]
        axes.scatter([], [], marker="s", s=90, color=colour, edgecolor="0.6", label=f"{mark} {name}".strip())
    figure.legend(
        loc="outside lower center", ncols=len(names), frameon=False, title="ours is, against the method"
    )
    return figure


@styled
def differences_figure(single: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """What `presets.supports` has more than each method on single photographs: a panel a class, a mark a network.

    Bars are 95 % intervals of the paired difference; right of 0 ours is the more faithful map.

    Args:
        single: the table of that name. methods: those that are shown, from the top.

    Raises:
        ValueError: a method that was not measured.

    Example:
        >>> differences_figure(table("single"), ["Grad-CAM", "gradient"]).axes[0].get_title()
        'first class'
    """
    known = single["method"].unique()
    for name in methods:
        if name not in known:
            raise ValueError(f"methods: expected measured ones ({'; '.join(known)}); got {name!r}.")
    figure = Figure(figsize=(9.2, 0.42 * len(methods) + 1.5))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, rank in zip(panels, ("first", "second"), strict=True):
        rows = single[single["class"] == rank]
        for k, (network, own) in enumerate(rows.groupby("network", sort=False)):
            own = own.set_index("method").reindex(methods)
            places = np.arange(len(methods)) + 0.2 * (k - 1)
            ends = [own["difference"] - own["low"], own["high"] - own["difference"]]
            look = {"color": COLOURS[k], "marker": MARKERS[k], "linestyle": "none", "markersize": 5}
            axes.errorbar(own["difference"], places, xerr=ends, label=short(network), **look)
        axes.axvline(0.0, color="black", linewidth=1.0)
        axes.set(title=f"{rank} class", xlabel="insertion - deletion: ours has more by")
        axes.set_yticks(range(len(methods)), methods)
        axes.grid(True, axis="x")
    panels[0].invert_yaxis()
    shared_legend(figure, panels[0], columns=3)
    return figure


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


def that_cost(single: pd.DataFrame, network: str, rank: str) -> pd.DataFrame:
    """The methods whose maps take any arithmetic, the cheapest first.

    Returns:
        The rows, with columns more (faithfulness less that of `presets.supports` on the same photographs) and
        on_front (none is both cheaper and more faithful).

    Raises:
        ValueError: nothing was measured of them.

    Example:
        >>> found = that_cost(table("single"), "efficientnet_lite0", "first")
        >>> bool(found["passes"].is_monotonic_increasing and found["on_front"].any())
        True
    """
    found = single[(single["network"] == network) & (single["class"] == rank) & (single["passes"] > 0)]
    if not len(found):
        raise ValueError(
            f"network, rank: expected measured ones ({', '.join(single['network'].unique())}; first, second); got "
            f"{network!r}, {rank!r}."
        )
    # paired by photograph, since the dear methods have fewer; ours itself has no difference
    found = found.assign(more=0.0 - found["difference"].fillna(0.0))
    return found.assign(on_front=pareto(found["passes"], found["more"])).sort_values("passes")


@styled
def cost_figure(found: pd.DataFrame) -> Figure:
    """Faithfulness against the arithmetic of a map, with the front that nothing beats in both.

    Args:
        found: of `that_cost`.

    Example:
        >>> figure = cost_figure(that_cost(table("single"), "efficientnet_lite0", "first"))
        >>> figure.axes[0].get_xlabel()
        'arithmetic of one map, in forward passes'
    """
    best = found[found["on_front"]]
    figure = Figure(figsize=(8.6, 4.8))
    axes = figure.subplots()
    axes.plot(best["passes"], best["more"], color="black", linewidth=1.0, drawstyle="steps-post")
    ours = found["method"].str.startswith("nonlinear")
    for rows, look in (
        (found[~ours & ~found["on_front"]], {"color": "0.6", "marker": "o", "markersize": 5}),
        (found[~ours & found["on_front"]], {"color": "black", "marker": "o", "markersize": 6}),
        (found[ours], {"color": COLOURS[0], "marker": "*", "markersize": 13}),
    ):
        axes.plot(rows["passes"], rows["more"], linestyle="none", **look)
    axes.set(xscale="log", xlabel="arithmetic of one map, in forward passes")
    axes.axhline(0.0, color="black", linewidth=0.8, linestyle=":")
    axes.set(ylabel="insertion - deletion, more than supports")
    axes.set_xlim(found["passes"].min() / 1.6, found["passes"].max() * 5)
    axes.set_ylim(found["more"].min() - 0.04, found["more"].max() + 0.06)
    axes.grid(True)
    axes.xaxis.set_major_formatter(lambda passes, _: f"{passes:g}")
    figure.draw_without_rendering()
    taken = []
    # what matters most first: a name that has no room is left to the table
    for _, row in found.assign(ours=ours).sort_values(["ours", "on_front"], ascending=False).iterrows():
        colour = COLOURS[0] if row["ours"] else "black" if row["on_front"] else "0.35"
        places = [(8, -3, "left"), (-8, -3, "right"), (0, 8, "center"), (0, -15, "center")]
        # beside a point of the front runs its line
        for dx, dy, where in places[2:] + places[:2] if row["on_front"] else places:
            label = axes.annotate(
                row["method"].removeprefix("nonlinear, "), (row["passes"], row["more"]), (dx, dy),
                textcoords="offset points", fontsize=8, color=colour, ha=where,
            )  # fmt: skip
            box = label.get_window_extent()
            inside = axes.get_window_extent()
            fits = box.x0 > inside.x0 and box.x1 < inside.x1 and box.y1 < inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()
    return figure


def against_four(
    pointing: pd.DataFrame, margin: float, four: Sequence[str], layouts: Sequence[str]
) -> pd.DataFrame:
    """Claim C5: `presets.contrasts` against some methods with the same contrast, by the interval and a margin.

    Returns:
        One row a method, columns (layout, part): "better" (after Holm), "equal or better" (the interval's lower end
        is above -margin), "not shown", "worse", "too few".

    Example:
        >>> against_four(table("pointing"), 0.01, ["Grad-CAM"], ["mosaic"]).shape
        (1, 2)
    """
    rows = pointing[(pointing["network"] == "all") & (pointing["variant"] == CONTRAST)]
    found = {}
    for layout in layouts:
        for part in (BEST, OTHERS):
            own = (
                rows[(rows["layout"] == layout) & (rows["part"] == part)].set_index("method").loc[list(four)]
            )
            equal = np.where(own["low"] > -margin, "equal or better", "not shown")
            kept = own["verdict"].isin(["better", "worse", "too few"])
            found[layout, part] = own["verdict"].where(kept, equal)
    return pd.DataFrame(found, index=list(four))
