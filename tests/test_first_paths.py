"""What notebook 03 shows of paths and accounts: frames of one size, bars that grow, ticks where they belong."""

import pytest
import torch
from matplotlib.patches import Rectangle

from helpers.lessons.first_paths import account_frames, driver_sheet
from helpers.saliency import Logit, NonlinearSaliency, Tangent
from helpers.zoo.toys import toys

TOYS = toys()


def straight_account(toy, count):
    """Points half-way to the reference, and accounts that grow evenly from 0."""
    share = torch.linspace(0, 0.5, count, dtype=torch.float64)[:, None]
    points = toy.point + share * (toy.reference - toy.point)
    return points, share * torch.tensor([[-1.0, -3.0]], dtype=torch.float64)


def tangent_of(toy):
    return NonlinearSaliency(toy.function, Logit(), path=Tangent()).explain(toy.point, level=toy.level)


@pytest.mark.parametrize(("points", "frames", "expected"), [(30, 5, 5), (3, 12, 3)])
def test_frames_go_from_the_first_point_to_the_last(points, frames, expected):
    toy = TOYS["ring"]
    figures = account_frames(toy, tangent_of(toy), *straight_account(toy, points), frames=frames)
    assert len(figures) == expected
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    widths = [[bar.get_width() for bar in figure.axes[1].patches[:2]] for figure in figures]
    assert widths[0] == [0, 0]
    assert widths[-1] == pytest.approx([-0.5, -1.5])
    assert all(before[1] > after[1] for before, after in zip(widths, widths[1:], strict=False))


def test_bars_have_one_scale_that_holds_the_promise_too():
    toy = TOYS["distractor"]
    tangent = tangent_of(toy)
    figures = account_frames(toy, tangent, *straight_account(toy, 9))
    limits = {figure.axes[1].get_xlim() for figure in figures}
    assert len(limits) == 1
    near, far = limits.pop()
    assert near == 0
    assert far < tangent.contribution.min() < 0


def test_what_cannot_be_drawn_is_refused():
    toy = TOYS["ring"]
    points, accounts = straight_account(toy, 4)
    with pytest.raises(ValueError, match="one for each of the points"):
        account_frames(toy, tangent_of(toy), points, accounts[1:])
    with pytest.raises(ValueError, match="one with two features"):
        account_frames(TOYS["XOR network"], tangent_of(toy), points, accounts)
    with pytest.raises(ValueError, match="the same methods"):
        driver_sheet(TOYS, {"linear": {}}, {"linear": {}})


def test_a_square_is_dark_by_its_share_and_drivers_have_a_thick_edge():
    toy = TOYS["distractor"]
    maps = {"linear": {"distractor": torch.tensor([[0.0, -4.0]])}}
    axes = driver_sheet({"distractor": toy}, maps, {"linear": {"distractor": False}}).axes[0]
    squares = {round(patch.get_x()): patch for patch in axes.patches if isinstance(patch, Rectangle)}
    assert sum(squares[1].get_facecolor()[:3]) < sum(squares[0].get_facecolor()[:3])
    assert [squares[i].get_linewidth() > 2 for i in (0, 1)] == [i in toy.drivers for i in (0, 1)]
    assert "✓" not in [text.get_text() for text in axes.texts]
