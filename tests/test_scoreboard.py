"""helpers.lessons.scoreboard: the tables, the front, the heat map of verdicts, and the rule of claim C5."""

import numpy as np
import pandas as pd
import pytest

from helpers.lessons import scoreboard
from helpers.lessons.scoreboard import BEST, CONTRAST, LOOKS, OTHERS, QUESTIONS, SUPPORTS

SINGLE = pd.DataFrame(
    [
        (network, rank, method, value, passes, *difference)
        for network in ("efficientnet_lite0", "efficientnet_lite1")
        for rank in ("first", "second")
        for method, value, passes, difference in (
            (SUPPORTS, 0.6, 50.0, (np.nan, np.nan, np.nan, np.nan)),
            ("cheap", 0.5, 1.0, (0.1, 0.05, 0.15, "better")),
            ("dear", 0.5, 90.0, (0.1, -0.05, 0.15, "not shown")),
            ("cheap, 64", 0.55, 60.0, (0.05, 0.02, 0.1, "better")),
            ("control: none", 0.1, 0.0, (0.5, 0.4, 0.6, "better")),
        )
    ],
    columns=["network", "class", "method", "value", "passes", "difference", "low", "high", "verdict"],
).assign(photos=9)
POINTING = pd.DataFrame(
    [
        ("mosaic", network, part, CONTRAST, method, low, word)
        for network in ("efficientnet_lite0", "all")
        for part in (BEST, OTHERS)
        for method, low, word in (("cheap (gradient)", -0.008, "no worse"), ("dear", 0.02, "better"))
    ],
    columns=["layout", "network", "part", "variant", "method", "low", "verdict"],
)


def test_the_front_is_what_nothing_beats_in_both():
    assert scoreboard.pareto([1, 2, 3, 3], [0.5, 0.9, 0.8, 0.9]).tolist() == [True, True, False, False]
    found = scoreboard.that_cost(SINGLE, "efficientnet_lite0", "first")
    # a control costs nothing, is on no front and hides nothing
    assert found["method"].tolist() == ["cheap", SUPPORTS, "cheap, 64", "dear"]
    assert found["on_front"].tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match="network, rank: expected measured ones .* got 'lite9', 'first'"):
        scoreboard.that_cost(SINGLE, "lite9", "first")


def test_wins_have_a_row_a_method_and_a_column_a_question_and_network():
    found = scoreboard.wins(SINGLE, POINTING)
    assert list(found.columns) == [
        (QUESTIONS[0], "Lite0"), (QUESTIONS[0], "Lite1"), (QUESTIONS[1], "Lite0"), (QUESTIONS[1], "Lite1"),
        (QUESTIONS[2], "Lite0"),
    ]  # fmt: skip
    # settings go, and the dear ones that are only on the cost figure; ours has no verdict on itself
    assert set(found.index) == {"cheap", "dear", "control: none"}
    assert found.loc["cheap"].tolist() == ["better"] * 4 + ["no worse"]
    assert found.loc["control: none"].tolist() == ["better"] * 4 + [""]


def test_the_heat_map_marks_every_verdict():
    found = scoreboard.wins(SINGLE, POINTING)
    figure = scoreboard.wins_figure(found)
    marks = [text.get_text() for text in figure.axes[0].texts]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(found.index)
    assert marks.count(LOOKS["better"][1]) == (found == "better").to_numpy().sum()
    assert len({colour for colour, _ in LOOKS.values()}) == len({mark for _, mark in LOOKS.values()}) == 5


def test_differences_have_a_panel_a_class_and_a_mark_a_network():
    figure = scoreboard.differences_figure(SINGLE, ["dear", "cheap"])
    assert [axes.get_title() for axes in figure.axes] == ["first class", "second class"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["dear", "cheap"]
    assert len(figure.axes[0].containers) == 2
    with pytest.raises(ValueError, match="methods: expected measured ones .* got 'absent'"):
        scoreboard.differences_figure(SINGLE, ["absent"])


def test_equal_or_better_is_by_the_margin_that_is_asked_for():
    options = (POINTING, ["cheap (gradient)", "dear"], ["mosaic"])
    rows, names, layouts = options
    loose, strict = (scoreboard.against_four(rows, margin, names, layouts) for margin in (0.01, 0.0))
    assert loose["mosaic", OTHERS].tolist() == ["equal or better", "better"]
    assert strict["mosaic", BEST].tolist() == ["not shown", "better"]
    few = scoreboard.against_four(rows.assign(verdict="too few"), 0.01, names, layouts)
    assert (few == "too few").all(axis=None)


def test_the_tables_are_there_and_a_missing_one_says_how_to_make_it():
    for name in ("single", "pointing", "depths", "sanity", "stability", "verdicts"):
        assert len(scoreboard.table(name)), name
    with pytest.raises(
        FileNotFoundError, match=r"benchmarks/absent.csv: no such table; `make bench` writes it"
    ):
        scoreboard.table("absent")
