"""helpers.lessons.scoreboard: the tables, the front, and the rules of the verdicts."""

import numpy as np
import pandas as pd
import pytest

from helpers.lessons import scoreboard
from helpers.lessons.scoreboard import (
    BETTER,
    EQUAL,
    NEITHER,
    OURS,
    PARTS,
    TOO_FEW,
    agreement_figure,
    cost_figure,
    curves_figure,
    duels,
    metric_agreement,
    pareto,
    perturbation_figure,
    perturbations,
    verdicts,
)


def row(method, part, auc, low=None, better=None, smoothing=0, chosen=True, work=1.0, images=10):
    return {
        "task": "toy", "method": method, "part": part, "rank_auc": auc, "difference_low": low, "better": better,
        "smoothing": smoothing, "chosen": chosen, "work": work, "images": images,
    }  # fmt: skip


BEST, OTHER = PARTS
ROWS = pd.DataFrame(
    [row(OURS, part, 0.9, work=5.0) for part in PARTS]
    + [row("good, here", BEST, 0.9, -0.02, False), row("good, here", OTHER, 0.89, -0.005, False)]
    + [row("bad", part, 0.6, 0.2, True, work=9.0) for part in PARTS]
    + [row("bad", OTHER, 0.99, 0.2, True, smoothing=4, chosen=False)]
)


def test_verdicts_follow_their_rules():
    table = verdicts(ROWS, "toy", ["good", "bad"])
    assert table.loc["good"].to_dict() == {
        "best-ranked class": NEITHER,
        "other classes": EQUAL,
    }
    assert (table.loc["bad"] == BETTER).all()
    few = verdicts(ROWS.assign(images=9), "toy", ["good", "bad"])
    assert (few == TOO_FEW).all(axis=None)
    with pytest.raises(ValueError, match="rivals: expected methods of toy; got 'absent'"):
        verdicts(ROWS, "toy", ["absent"])


def test_only_the_chosen_smoothing_is_shown_the_best_first():
    found = scoreboard.chosen(ROWS, "toy")
    assert list(found["method"].unique()) == [OURS, "good, here", "bad"]
    assert len(found) == 6


def test_the_front_is_what_nothing_beats_in_both():
    front = pareto([1, 2, 2, 5, 6], [0.5, 0.7, 0.6, 0.7, 0.9])
    assert front.tolist() == [True, True, False, False, True]
    assert pareto([1, 1], [0.5, 0.5]).all()
    assert isinstance(front, np.ndarray)


@pytest.mark.parametrize("task", ["digits", "bundled photographs", "photographs"])
def test_what_costs_nothing_is_not_on_the_front_and_hides_nothing(task):
    front = scoreboard.front(scoreboard.table("specificity"), task)
    assert len(front) >= 2
    assert front["work"].is_monotonic_increasing
    assert front["rank_auc"].is_monotonic_increasing
    assert not front["method"].str.startswith(("control", "oracle")).any()


def test_figures_have_a_line_and_a_point_a_method():
    curves = curves_figure(ROWS, "toy", [OURS, "bad"])
    left, right = curves.axes
    assert [line.get_label() for line in right.get_lines()[:2]] == [OURS, "bad"]
    assert right.get_lines()[1].get_xdata().tolist() == [0, 4]
    assert left.get_title() == "toy: best-ranked class"
    axes = cost_figure(ROWS, "toy").axes[0]
    front, *points = axes.get_lines()
    assert front.get_xdata().tolist() == [1.0, 5.0]
    assert len(points) == 3


def test_the_tables_are_there_and_a_missing_one_says_how_to_make_it():
    specificity = scoreboard.table("specificity")
    assert {"digits", "photographs"} <= set(specificity["task"])
    assert OURS in set(specificity["method"])
    digits = specificity[(specificity["task"] == "digits") & (specificity["method"] == OURS)]
    assert digits["grids"].min() >= 200
    assert {"gain", "residual"} <= set(scoreboard.table("depths").columns)
    with pytest.raises(FileNotFoundError, match="benchmarks.nothing"):
        scoreboard.table("nothing")


def measured(method, metric, fill, value, rank=0):
    return {
        "task": "toy", "method": method, "metric": metric, "fill": fill, "score": "log-odds", "rank": rank,
        "value": value, "advantage": value, "advantage_low": value - 0.5, "advantage_high": value + 0.5,
    }  # fmt: skip


FAITHFUL = pd.DataFrame(
    [measured("a", "deletion", fill, -3.0) for fill in ("mean", "noise")]
    + [measured("b", "deletion", "mean", -4.0), measured("b", "deletion", "noise", -1.0)]
    + [measured(m, "insertion", fill, v) for m, v in (("a", 2.0), ("b", 1.0)) for fill in ("mean", "noise")]
    + [measured("a", "infidelity", "mean", 0.5), measured("a", "deletion", "mean", 9.0, rank=1)]
)


def test_what_was_not_measured_is_told():
    with pytest.raises(ValueError, match="tasks: toy"):
        perturbations(FAITHFUL, "other")


def test_the_figure_of_faithfulness_has_the_best_on_top():
    figure = perturbation_figure(FAITHFUL, "toy")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "a"]
    assert left.containers[0].lines[0].get_xdata().tolist() == [-4.0, -3.0]
    assert right.containers[1].lines[0].get_xdata().tolist() == [1.0, 2.0]


def test_duels_count_intervals_that_leave_out_zero():
    rows = pd.concat([FAITHFUL, pd.DataFrame([measured(OURS, "deletion", "mean", np.nan)])])
    table = duels(perturbations(rows, "toy"))
    assert table.loc["a"].tolist() == [2, 0, 2]
    assert table.loc["b"].tolist() == [2, 0, 2]
    near = rows.assign(advantage_low=-1.0, advantage_high=1.0)
    assert (duels(perturbations(near, "toy"))["not shown"] == 4).all()
    assert OURS not in table.index


def test_the_agreement_figure_is_centred_at_zero():
    table = pd.DataFrame([[1.0, -0.5], [-0.5, 1.0]], index=["x", "y"], columns=["x", "y"])
    figure = agreement_figure({"one": table, "two": table})
    image = figure.axes[0].get_images()[0]
    assert image.get_clim() == (-1, 1)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one", "two"]


def test_metrics_that_order_alike_agree():
    faithful = pd.concat(
        [
            pd.DataFrame(
                [measured(m, kind, "mean", sign * v) for m, v in (("a", 3.0), ("b", 2.0), ("c", 1.0))]
            )
            for kind, sign in (("deletion", -1.0), ("insertion", 1.0))
        ]
    )
    faithful = pd.concat([faithful, faithful.assign(score="probability")])
    auc = pd.DataFrame([row(m, part, v) for part in PARTS for m, v in (("a", 0.7), ("b", 0.8), ("c", 0.9))])
    table = metric_agreement(faithful, auc, "toy")
    assert table.loc["deletion, mean, log-odds", "insertion, mean, probability"] == pytest.approx(1)
    assert table.loc["deletion, mean, log-odds", "rank AUC"] == pytest.approx(-1)
