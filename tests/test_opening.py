"""The two pictures of notebook 00."""

import numpy as np
import pytest
import torch

from helpers.lessons.opening import contrasted, moons_frame, mosaic_figure
from helpers.saliency import Flow, Logit, NonlinearSaliency, Tangent
from helpers.show.style import png

NAMES = ["Egyptian cat", "espresso", "tripod", "moped"]


def circle(x):
    return x.square().sum(1, keepdim=True) - 1


def runs(point=(1.2, 1.1), path=Flow(8), trace=True):
    x = torch.tensor([point], dtype=torch.float64)
    linear = NonlinearSaliency(circle, Logit(), path=Tangent()).explain(x, level=0.0)
    return linear, NonlinearSaliency(circle, Logit(), path=path).explain(x, level=0.0, trace=trace)


def test_the_frame_of_each_row_is_around_its_quarter():
    figure = mosaic_figure(
        torch.rand(3, 16, 12), {"flow": torch.rand(4, 16, 12)}, NAMES, [0.4, 0.3, 0.2, 0.1]
    )
    corners = [axes.patches[0].get_xy() for axes in figure.axes[1:]]
    assert corners == [(-0.5, -0.5), (5.5, -0.5), (-0.5, 7.5), (5.5, 7.5)]
    assert [axes.get_ylabel() for axes in figure.axes[1:3]] == ["Egyptian\ncat\n40 %", "espresso\n30 %"]


def test_a_fine_map_is_averaged_and_what_speaks_against_is_left_out():
    found = torch.ones(4, 16, 16)
    found[:, :8] = -1
    figure = mosaic_figure(
        torch.rand(3, 16, 16), {"a": found, "b": found}, NAMES, torch.ones(4) / 4, fine=["a"]
    )
    fine, whole = (axes.images[1].get_array() for axes in figure.axes[1:3])
    assert fine.shape == (4, 4)
    assert whole.shape == (16, 16)
    assert fine.min() == whole.min() == 0


def test_the_number_of_a_method_stands_below_its_name():
    maps = {"a": torch.rand(4, 16, 16), "b": torch.rand(4, 16, 16)}
    figure = mosaic_figure(
        torch.rand(3, 16, 16), maps, NAMES, torch.ones(4) / 4, values={"a": 0.5, "b": 0.987}
    )
    assert [axes.get_title() for axes in figure.axes[1:3]] == ["a\nrank AUC 0.500", "b\nrank AUC 0.987"]


def test_a_contrast_leaves_a_place_to_the_class_that_claims_most():
    class Halves:
        """Class 0 claims the left half, class 1 both, the others nothing."""

        def attribute(self, images, targets):
            maps = torch.zeros(len(targets), 1, 56, 56)
            for found, label in zip(maps, targets, strict=True):
                found[..., :28] = {0: 3.0, 1: 1.0}.get(label, 0.0)
                found[..., 28:] = float(label == 1)
            return maps

    image, logits = torch.zeros(1, 3, 56, 56), torch.tensor([3.0, 2.0, 1.0, 0.0])
    left, both = contrasted(Halves(), image, [0, 1], logits, rivals=2)
    assert left[:, 5].min() > 2.9
    assert left[:, -5:].abs().max() < 0.01
    assert both[:, -5:].min() > 0.7
    assert both[:, 5].max() < 0.1


@pytest.mark.parametrize(
    ("maps", "names"),
    [({}, NAMES), ({"flow": torch.rand(3, 8, 8)}, NAMES), ({"flow": torch.rand(4, 8, 8)}, ["cat"])],
)
def test_a_mosaic_has_four_of_everything(maps, names):
    with pytest.raises(ValueError, match="expected 4 of each"):
        mosaic_figure(torch.rand(3, 8, 8), maps, names, [0.4, 0.3, 0.2, 0.1])


def test_the_frames_of_a_film_differ_and_are_of_one_size():
    linear, nonlinear = runs()
    figures = [moons_frame(circle, linear, nonlinear, (-2, 2, -2, 2), share) for share in (0.0, 0.5, 1.0)]
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    assert len({png(figure) for figure in figures}) == 3
    assert [figure.axes[1].get_title().split()[-1] for figure in figures[::2]] == ["1.65", "0"]


def test_the_score_beside_is_that_of_the_function():
    linear, nonlinear = runs()
    axes = moons_frame(circle, linear, nonlinear, (-2, 2, -2, 2)).axes[1]
    ends = [line.get_ydata()[-1] for line in axes.lines if len(line.get_ydata()) > 2]
    assert np.allclose(ends, [linear.score_end.item(), nonlinear.score_end.item()])


def test_where_the_slope_is_0_there_is_no_step():
    flat = runs(point=(0.0, 0.0))
    figure = moons_frame(circle, *flat, (-2, 2, -2, 2))
    assert "step: −1.00" in figure.axes[1].get_title()


def test_what_cannot_be_drawn_is_refused():
    linear, nonlinear = runs(trace=False)
    with pytest.raises(ValueError, match="trace=True"):
        moons_frame(circle, linear, nonlinear, (-2, 2, -2, 2))
    linear, nonlinear = runs(point=(1.0, 1.0, 1.0), path=Flow(4))
    with pytest.raises(ValueError, match="two features"):
        moons_frame(circle, linear, nonlinear, (-2, 2, -2, 2))
