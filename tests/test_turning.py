"""helpers.lessons.turning: a frame of the film, and rows of maps over digits."""

import pytest
import torch

from helpers.lessons.turning import maps_in_rows, turning_frame

DIGIT = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_a_frame_has_a_bar_for_everyone_on_the_side_of_the_score():
    scores = {"one": {"network": 2.0, "witness": -30.0}, "two": {"network": 0.5, "witness": 0.5}}
    figure = turning_frame({"one": DIGIT, "two": DIGIT}, scores, ("4", "9"), reach=5.0)
    above, _, below, _ = figure.axes
    assert above.get_title() == "one"
    assert [bar.get_width() for bar in below.patches] == [2.0, -5.0]  # cut at the reach
    assert below.patches[0].get_facecolor() != below.patches[1].get_facecolor()
    assert [text.get_text() for text in below.get_xticklabels()] == ["4", "9"]
    with pytest.raises(ValueError, match="scores: expected one entry for each of"):
        turning_frame({"one": DIGIT}, {}, ("4", "9"), reach=5.0)
    with pytest.raises(ValueError, match="reach"):
        turning_frame({"one": DIGIT}, {"one": {"network": 1.0}}, ("4", "9"), reach=0.0)


@pytest.mark.parametrize(("a_column", "largest"), [(False, [0.1, 1.0]), (True, [1.0, 1.0])])
def test_maps_share_a_scale_or_have_one_a_column(a_column, largest):
    small, large = torch.full((28, 28), 0.1), torch.full((1, 28, 28), -1.0)
    rows = {"digit": [(DIGIT, None)] * 2, "map": [(DIGIT, small), (DIGIT, large)]}
    figure = maps_in_rows(rows, ["small", "large"], a_column=a_column)
    drawn = [axes.images[1].get_array() for axes in figure.axes[2:4]]
    assert [abs(values).max() for values in drawn] == pytest.approx(largest)
    assert len(figure.axes[0].images) == 1  # a digit without a map


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one map"):
        maps_in_rows({"digit": [(DIGIT, None)]})
    with pytest.raises(ValueError, match="rows, heads: expected 2"):
        maps_in_rows({"a": [(DIGIT, DIGIT)] * 2, "b": [(DIGIT, DIGIT)]})
    with pytest.raises(ValueError, match="rows, heads: expected 1"):
        maps_in_rows({"a": [(DIGIT, DIGIT)]}, ["one", "two"])
