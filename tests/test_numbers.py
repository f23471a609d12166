"""What bars, curves and dots show: values, scales, legends, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch
from figures import legend_of

from helpers.show.numbers import bars, convergence, dots_with_intervals


def test_bars_show_every_value_at_its_feature():
    values = {"gradient": torch.tensor([[1.0, -2.0, 0.5]]), "flow": [0.0, 3.0, -4.0]}
    figure = bars(values, ["radius", "area", "texture"], label="logit")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "logit"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["radius", "area", "texture"]
    assert axes.yaxis_inverted()  # the first on top
    for container, expected in zip(axes.containers, ([1.0, -2.0, 0.5], [0.0, 3.0, -4.0]), strict=True):
        assert [bar.get_width() for bar in container] == expected
        centres = [bar.get_y() + bar.get_height() / 2 for bar in container]
        assert np.round(centres).tolist() == [0, 1, 2]
    assert legend_of(figure) == ["gradient", "flow"]
    assert len({container[0].get_hatch() for container in axes.containers}) == 2


def test_bars_keep_the_largest():
    (axes,) = bars({"a": [1.0, -5.0, 2.0], "b": [0.0, 0.0, 3.0]}, ["x", "y", "z"], largest=2).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["y", "z"]
    assert [[bar.get_width() for bar in c] for c in axes.containers] == [[-5.0, 2.0], [0.0, 3.0]]


def test_bars_refuse_values_without_a_feature():
    with pytest.raises(ValueError, match=r"values: expected 3 finite values.*for 'a'; got shape \(2,\)"):
        bars({"a": [1.0, 2.0]}, ["x", "y", "z"])
    with pytest.raises(ValueError, match="values: expected at least one method"):
        bars({}, ["x"])


def test_convergence_is_log_log_with_the_slope_in_the_legend():
    sizes = torch.logspace(-4, 0, 5)
    errors = {
        "first": 3 * sizes,
        "second": sizes.double() ** 2,
        "exact": sizes * 0,
        "some": sizes * (sizes > 1e-3),
    }
    figure = convergence(sizes, errors, x_label="step", y_label="miss")
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "miss")
    labels = legend_of(figure)
    assert labels[:3] == ["first: slope 1.00", "second: slope 2.00", "exact: exactly 0 everywhere"]
    assert labels[3].startswith("some: slope 1.00, ")
    points = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata())]
    assert np.allclose(points[0].get_ydata(), 3 * sizes)
    with pytest.raises(ValueError, match="expected as many values as x"):
        convergence(sizes, {"a": [1.0, 2.0]})


def test_dots_stand_at_their_means_with_their_intervals():
    table = pd.DataFrame(
        [
            ("ours", "best", 0.9, 0.85, 0.92),
            ("ours", "others", 0.8, 0.7, 0.9),
            ("peer", "best", 0.6, 0.5, 0.7),
        ],
        columns=["method", "part", "mean", "low", "high"],
    )
    figure = dots_with_intervals(table)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "rank AUC (chance 0.5)"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ours", "peer"]
    assert axes.get_ylim() == (1.5, -0.5)
    best, others = axes.containers
    assert list(best.lines[0].get_xdata()) == [0.9, 0.6]
    (segments,) = best.lines[2]
    assert [s[:, 0].tolist() for s in segments.get_segments()] == [
        pytest.approx([0.85, 0.92]),
        pytest.approx([0.5, 0.7]),
    ]
    assert list(others.lines[0].get_xdata()) == [0.8]
    assert set(legend_of(figure)) == {"best", "others", "chance"}
    chance = [line for line in axes.lines if line.get_label() == "chance"]
    assert list(chance[0].get_xdata()) == [0.5, 0.5]
    assert "chance" not in legend_of(dots_with_intervals(table, chance=None))
    with pytest.raises(ValueError, match="table: expected rows with the columns"):
        dots_with_intervals(table.drop(columns="low"))


def test_dots_with_intervals_takes_a_mean_that_rounding_put_outside_its_interval():
    low = float(np.nextafter(0.5, 1))
    figure = dots_with_intervals(
        pd.DataFrame({"method": ["a"], "part": ["all"], "mean": [0.5], "low": [low], "high": [low]})
    )
    assert figure.axes[0].get_yticklabels()[0].get_text() == "a"
