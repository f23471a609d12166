"""The front page and the verdicts, from the measured tables: python -m benchmarks.front.

The targets M1 to M7 were set before the tables were measured. Each has a rule, in code; where it is missed, the
table says by how much.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from benchmarks.common import folder_for, parser_of, write_table
from benchmarks.methods import AT_BLOCKS, CONTRASTS, SUPPORTS, TWINS
from benchmarks.pointing import CELLS_OUT, CONTRAST, OTHERS, PLAIN
from benchmarks.single import CENTRE, SIDE
from helpers.lessons.scoreboard import NO_PEERS
from helpers.measure.cost import measured
from helpers.measure.depths import per_depth, within_depth
from helpers.saliency import presets
from helpers.zoo.classifiers import load_classifier

LAYOUTS = ("inset", "mosaic", "planted")
MOST = 4  # that the page of the verdicts names
GRAD_CAM = "Grad-CAM"
ROWS = (SUPPORTS, CONTRASTS, AT_BLOCKS, GRAD_CAM, "first", "second", "gradient", CENTRE)
M1 = (
    GRAD_CAM,
    "HiResCAM",
    "Occlusion, 64 px",
    "Integrated Gradients, 16",
    "Integrated Gradients, 16, mean colour",
)
MUCH_DEARER = ("RISE, 500 masks", "iGOS++, cut down")


def best_peer(single: pd.DataFrame, rank: str) -> str:
    """The peer with the largest mean over networks for a class, Grad-CAM apart, of those measured on all."""
    single = single[single["class"] == rank]
    networks = single["network"].nunique()
    known = single.groupby("method").filter(lambda rows: rows["network"].nunique() == networks)
    ours = known["method"].str.startswith(NO_PEERS)
    return known[~ours].groupby("method")["value"].mean().drop(GRAD_CAM, errors="ignore").idxmax()


def passes_of_contrasts() -> float:
    """Arithmetic of one map of `presets.contrasts` on EfficientNet-Lite0, in forward passes."""
    model = load_classifier().model
    return measured(presets.contrasts(model), torch.rand(1, 3, SIDE, SIDE), 0)[1].work


def front_table(tables: dict[str, pd.DataFrame], passes: float) -> pd.DataFrame:
    """At most eight rows: what a reader of README needs.

    Args:
        passes: of `presets.contrasts`, which has no row among the single photographs.
    """
    single, pointing, stability = (tables[name] for name in ("single", "pointing", "stability"))
    names = {rank: best_peer(single, rank) for rank in ("first", "second")}
    # the names of one method differ between the tables by their settings
    plain = {name: name.split(",")[0] for name in names.values()}
    plain["HiResCAM"] = "HiResCAM (gradient x activation)"
    rows = []
    for row in ROWS:
        name = names.get(row, row)
        other = plain.get(name, name)
        one = single[single["method"] == name]
        of = pointing[(pointing["method"] == other) & (pointing["network"] == "all")]
        of = of[(of["part"] == OTHERS) & of["variant"].isin([PLAIN, CONTRAST])]
        # on insets and digits the contrast lowers most maps: every method in its better form
        best = of.groupby("layout")["rank_auc"].max()
        stable = stability.set_index("method")["between sizes"]
        by_class = one.groupby("class")["value"].mean()
        rows.append(
            {
                "map": name,
                "one photograph, first class": by_class.get("first"),
                "second class": by_class.get("second"),
                **{layout: best.get(layout) for layout in LAYOUTS},
                "sizes": stable.get(name),
                "passes": one["passes"].mean() if len(one) else passes if name == CONTRASTS else None,
            }
        )
    return pd.DataFrame(rows).drop_duplicates("map", ignore_index=True)


def words(rows: pd.DataFrame, wanted: tuple[str, ...], column: str = "method") -> tuple[bool, str]:
    """Whether all of the rows have one of the verdicts, and those that have not, with what they miss."""
    missed = rows[~rows["verdict"].isin(wanted)].sort_values("low")
    text = "; ".join(
        f"{row[column]}{'' if row.get('network', 'all') == 'all' else ', ' + str(row['network'])}: "
        f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        for _, row in missed.head(MOST).iterrows()
    )
    more = f"; and {len(missed) - MOST} more" if len(missed) > MOST else ""
    return not len(missed), text + more


def _single(tables: dict[str, pd.DataFrame], rank: str) -> tuple[str, str, str]:
    single = tables["single"]
    rows = single[single["class"] == rank]
    found = _by_interval(rows[rows["method"].isin(M1)])
    held, text = words(found, ("better",))
    dear = rows[rows["method"].isin(MUCH_DEARER)]
    ours = rows[rows["method"] == SUPPORTS]["passes"].mean()
    for name, row in dear.set_index("method").iterrows():
        text += f"{'; ' if text else ''}{name}, {row['passes'] / ours:.0f} times the passes: {row['verdict']}"
    held &= dear["verdict"].isin(["better", "no worse"]).all()
    corrected = rows[rows["method"].isin(M1)]["verdict"].eq("better").sum()
    text += f"; after Holm's correction better in {corrected} of {len(found)}"
    return (
        _state(held, found["verdict"].eq("better").any()),
        f"{found['verdict'].eq('better').sum()} of {len(found)}",
        text,
    )


def _by_interval(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, judged as the target asks: by the interval of each comparison alone, without Holm."""
    return rows.assign(verdict=rows["verdict"].mask(rows["low"] > 0, "better"))


def _contrasts(tables: dict[str, pd.DataFrame]) -> tuple[str, str, str]:
    rows = tables["pointing"]
    rows = rows[rows["layout"].isin(["mosaic", "inset"]) & (rows["part"] == OTHERS)]
    rows = rows[rows["variant"].isin([CONTRAST, CELLS_OUT]) & (rows["network"] == "all")]
    rows = rows[~rows["method"].str.startswith(NO_PEERS)]
    rows = rows.assign(name=rows["method"] + ", " + rows["layout"] + ", " + rows["variant"])
    held, text = words(rows, ("better", "no worse"), "name")
    better = rows["verdict"].eq("better")
    most = better.mean() > 0.5
    return _state(held and most, held or most), f"better in {better.sum()} of {len(rows)}", text


def _twins(tables: dict[str, pd.DataFrame]) -> tuple[str, str, str]:
    single, depths = tables["single"], tables["depths"]
    # both: the slope where the maps are read, and the slope at the photograph, which has far to go
    rows = single[(single["class"] == "first") & single["method"].isin([AT_BLOCKS, TWINS[SUPPORTS]])]
    rows = _by_interval(rows)
    held, text = words(rows, ("better",))
    gains = per_depth(depths).iloc[:-1]
    behind = gains[gains["gain low"] <= 0]
    follows = within_depth(depths)
    more = f"on mosaics ahead at {len(gains) - len(behind)} of {len(gains)} depths but the last"
    interval = f"{follows.estimate:+.2f} ({follows.low:+.2f} to {follows.high:+.2f})"
    more += f"; within a depth gain and residual correlate {interval}"
    whole = held and not len(behind) and follows.low > 0
    return (
        _state(whole, held),
        f"{rows['verdict'].eq('better').sum()} of {len(rows)}",
        "; ".join(filter(None, [text, more])),
    )


def _stable(tables: dict[str, pd.DataFrame]) -> tuple[str, str, str]:
    sizes = tables["stability"].set_index("method")["between sizes"]
    held = sizes[SUPPORTS] >= 0.8 and sizes[SUPPORTS] > sizes[GRAD_CAM]
    return _state(held, False), f"{sizes[SUPPORTS]:.2f}", f"{GRAD_CAM}: {sizes[GRAD_CAM]:.2f}"


def _witness(tables: dict[str, pd.DataFrame]) -> tuple[str, str, str]:
    row = tables["witness"].set_index("path").loc["flow, VAE of 16"]
    return (
        _state(row["median"] >= 0.5, False),
        f"{row['median']:.2f}",
        f"{row['median low']:.2f} to {row['median high']:.2f} of its way, median",
    )


def _sane(tables: dict[str, pd.DataFrame]) -> tuple[str, str, str]:
    table, text, held = tables["sanity"], [], True
    for data, rows in table.groupby("data", sort=False):
        rows = rows.set_index("method")
        peers = rows[~rows.index.str.startswith(NO_PEERS)]
        kept, shared = rows.loc[SUPPORTS, "kept"], rows.loc[SUPPORTS, "overlap"]
        held &= abs(kept) <= 0.1 and shared < peers["overlap"].min()
        least = peers["overlap"].idxmin()
        text.append(
            f"{data}: kept {kept:.2f}, overlap {shared:.2f} (least of the peers: {least}, "
            f"{peers['overlap'].min():.2f})"
        )
    return _state(held, False), "", "; ".join(text)


def _state(held: bool, in_part: bool) -> str:
    return "met" if held else "in part" if in_part else "missed"


TARGETS: dict[str, tuple[str, Callable]] = {
    "M1": ("one photograph, first class: better than the peers", lambda t: _single(t, "first")),
    "M2": ("one photograph, second class: better than the peers", lambda t: _single(t, "second")),
    "M3": ("mosaics and insets, other classes: no worse than every peer with the same contrast", _contrasts),
    "M4": ("nonlinear above its linear twins", _twins),
    "M5": ("maps stable between sizes: 0.8, and above Grad-CAM", _stable),
    "M6": ("digits: a second network goes half of its way", _witness),
    "M7": ("random weights keep 0.1 at most; classes overlap less than with every peer", _sane),
}


def verdicts(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a target: its verdict, the number, and what is missing."""
    rows = [(name, what, *rule(tables)) for name, (what, rule) in TARGETS.items()]
    return pd.DataFrame(
        rows, columns=["target", "what", "verdict", "number", "what is missing, or beside it"]
    )


def main() -> None:
    options = parser_of(__doc__).parse_args()
    folder = folder_for(options.quick)
    names = ("single", "pointing", "stability", "depths", "witness", "sanity")
    # a quick run measures some of the tables; the others are those that stand in the suite
    tables = {name: pd.read_csv(_measured(folder, name)) for name in names}
    table = front_table(tables, passes_of_contrasts())
    write_table(
        "front",
        table.round(3),
        "One photograph: insertion minus deletion, mean of three networks. Inset, mosaic, planted digits: rank "
        "AUC of the classes that are not best-ranked, each method plain or with the same contrast, whichever is "
        "better. Sizes: rank correlation of a photograph's maps between sizes. Passes: arithmetic of one map, in "
        "forward passes.",
        folder=folder,
    )
    write_table(
        "verdicts", verdicts(tables), "The targets, judged by code (benchmarks/front.py).", folder=folder
    )


def _measured(folder: Path, name: str) -> Path:
    file = folder / f"{name}.csv"
    return file if file.is_file() else folder_for(quick=False) / f"{name}.csv"


if __name__ == "__main__":
    main()
