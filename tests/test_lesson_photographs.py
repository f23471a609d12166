"""The slope where a map is read, and a photograph that comes back square by square."""

import pytest
import torch
from torch import nn

from benchmarks.methods import twin_at_blocks
from helpers.lessons.photographs import in_words, restored, slope_at_blocks
from helpers.saliency import Constant, presets
from helpers.show.maps import comparison_sheet
from helpers.zoo.classifiers import load_classifier

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


def test_the_slope_at_the_blocks_is_that_of_the_benches():
    model = load_classifier("random:squeezenet1_1").model
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    saliency = presets.supports(model, steps=2)
    found = slope_at_blocks(saliency, images, [3, 7])
    for number, target in enumerate([3, 7]):
        expected = twin_at_blocks(saliency)(images[number : number + 1], [target])[0]
        torch.testing.assert_close(found[number], expected, rtol=1e-3, atol=1e-6)


def test_a_sheet_in_words_says_where_nothing_glows():
    maps = {"empty": torch.zeros(2, 4, 4), "full": torch.ones(2, 4, 4)}
    options = {"image": torch.rand(4, 4), "over": True, "signed": False}
    figure = in_words(comparison_sheet(maps, ["cat", "dog"], **options))
    bar = figure.axes[-1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["weak", "strong"]
    assert not bar.get_ylabel()
    assert [len(axes.texts) for axes in figure.axes[:-1]] == [0, 1, 0, 1, 0]
