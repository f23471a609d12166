"""Digits in rows, and a digit that loses its ink: what is over what, and where the film begins and ends."""

import numpy as np
import pytest
import torch

from helpers.lessons.digit_pictures import Drawn, digit_rows, fading_frames, over_ink, patch_maps
from helpers.saliency import Flow, LogOdds, NonlinearSaliency, Removal
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net

INK = torch.tensor([[0.0, 1.0], [0.5, 1.0]])


def test_a_digit_without_a_map_is_drawn_as_it_is():
    assert np.allclose(over_ink(INK)[..., 0], INK)


def test_red_lies_where_the_map_supports_and_nowhere_else():
    pixels = over_ink(INK, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), limit=1.0)
    red, green = pixels[..., 0], pixels[..., 1]
    assert red[0, 1] > 2 * green[0, 1]
    others = np.array([[True, False], [True, True]])
    assert np.allclose(red[others], green[others])
    assert red[1, 0] > red[1, 1], "more ink is darker"


def test_rows_have_names_heads_notes_and_frames():
    mask = torch.tensor([[True, False], [False, False]])
    rows = {"digit": [Drawn(INK), Drawn(INK)], "flow": [Drawn(INK, INK, "a 9"), Drawn(INK, INK)]}
    figure = digit_rows(rows, heads=["a", "b"], frames=[mask, mask])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["digit", "", "flow", ""]
    assert figure.axes[2].get_xlabel() == "a 9"
    box = figure.axes[0].patches[0].get_bbox()
    assert (box.x0, box.y0, box.x1, box.y1) == (-0.5, -0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("rows", "heads"),
    [({}, []), ({"a": []}, []), ({"a": [Drawn(INK)], "b": []}, []), ({"a": [Drawn(INK)]}, "ab")],
)
def test_rows_that_do_not_fit_are_refused(rows, heads):
    with pytest.raises(ValueError, match="as many panels in each"):
        digit_rows(rows, heads=heads)


def test_the_film_begins_with_the_digit_and_ends_at_even_odds():
    image = mnist5k().test_inputs[[950]].double()
    saliency = NonlinearSaliency(digit_net().double(), LogOdds(), Removal(0.0), path=Flow(3))
    figures = fading_frames(saliency, image, 9, "a 9", frames=4)
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    assert np.allclose(figures[0].axes[0].images[0].get_array()[..., 0], image[0, 0])
    assert figures[-1].axes[0].get_title() == "a 9: 50.0 %"
    gone = [figure.axes[2].lines[-1].get_xdata()[0] for figure in figures]
    assert gone == sorted(gone)
    assert gone[0] == 0
    red = [
        float((f.axes[1].images[0].get_array()[..., 0] - f.axes[1].images[0].get_array()[..., 1]).sum())
        for f in figures
    ]
    assert red == sorted(red)


def test_a_path_that_does_not_move_makes_no_film():
    def model(x):
        return torch.stack([0 * x.sum((1, 2, 3)) + 1, 0 * x.sum((1, 2, 3))], 1)

    saliency = NonlinearSaliency(model, LogOdds(), Removal(0.0))
    with pytest.raises(ValueError, match="does not move"):
        fading_frames(saliency, torch.ones(1, 1, 2, 2), 0, "a 0")


def test_a_patch_lies_round_a_pixel_with_ink():
    images = torch.zeros(2, 1, 3, 4)
    images[0, 0, 2, 1] = images[1, 0, 0, 3] = 1.0
    maps = patch_maps(images, seed=5)
    assert maps.shape == images.shape
    assert maps.flatten(1).argmax(1).tolist() == [9, 3]
    assert maps[0, 0, 2, 0] == maps[0, 0, 1, 1] == -1
