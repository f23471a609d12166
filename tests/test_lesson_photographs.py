"""A photograph that comes back square by square."""

import pytest
import torch
from torch import nn

from helpers.lessons.photographs import restored
from helpers.saliency import Constant

MODEL = nn.Flatten()  # the logits are the pixels
IMAGE = torch.tensor([[3.0, 0.0], [1.0, 0.5]])[None, None] / 3
MAPS = {"right": IMAGE[:, 0], "wrong": -IMAGE[:, 0]}


def frames(**options):
    return restored(MODEL, IMAGE, 0, MAPS, Constant(0.0), square=1, steps=4, **options)


def test_a_frame_a_step_and_the_last_is_the_image():
    made = frames()
    assert len(made) == 4
    assert len({tuple(figure.get_size_inches()) for figure in made}) == 1
    for axes in made[-1].axes[:2]:
        assert torch.equal(torch.as_tensor(axes.images[0].get_array()), IMAGE[0, 0].double())


def test_the_strongest_square_comes_first_and_the_probability_is_the_models():
    right, wrong = (torch.as_tensor(axes.images[0].get_array()) for axes in frames()[0].axes[:2])
    assert right.nonzero().tolist() == [[0, 0]]
    assert wrong[0, 0] == 0
    share = 100 * torch.tensor([1.0, 0, 0, 0]).softmax(0)[0].item()
    assert frames()[0].axes[0].get_title() == f"right: {share:.0f} %"


def test_both_lines_end_at_the_probability_of_the_image():
    whole = IMAGE.flatten().softmax(0)[0].item()
    lines = [line for line in frames()[-1].axes[2].lines if len(line.get_ydata()) == 5]
    assert len(lines) == 4  # what is there, and what is still to come, of two maps
    assert all(line.get_ydata()[-1] == pytest.approx(whole) for line in lines)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="maps: expected at least one"):
        restored(MODEL, IMAGE, 0, {}, Constant(0.0))
    with pytest.raises(ValueError, match="steps: expected at most one a square, 4"):
        restored(MODEL, IMAGE, 0, MAPS, Constant(0.0), square=1, steps=5)
