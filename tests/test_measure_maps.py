"""Numbers of one map, on constructed maps."""

import pytest
import torch
from scipy import stats

from helpers.measure import maps as measure_maps
from helpers.measure.grids import (
    cell_mask,
)
from helpers.measure.maps import rank_auc, right_cell, spearman, sum_channels, top_share
from helpers.saliency import gaussian_blur

HALF = 6


@pytest.fixture
def mask():
    return cell_mask(1, HALF, HALF)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- measures of one map -----------------------------------------------------------------------------------


def test_perfect_reversed_and_constant_maps(mask):
    perfect = mask.double()
    assert rank_auc(perfect, mask) == 1.0
    assert rank_auc(-perfect, mask) == 0.0
    assert rank_auc(torch.full_like(perfect, 3.0), mask) == 0.5
    assert measure_maps.energy(perfect, mask) == 1.0
    assert measure_maps.energy(-perfect, mask) == 0.25  # no positive mass says nothing: chance
    assert measure_maps.energy(~mask * 1.0, mask) == 0.0
    assert top_share(perfect, mask) == 1.0
    assert top_share(-perfect, mask) == 0.0
    assert top_share(torch.zeros_like(perfect), mask) == pytest.approx(0.25)


def test_rank_auc_is_the_share_of_pairs_with_ties_half(mask):
    values = (noise(2 * HALF, 2 * HALF) * 5).round()  # many ties
    inside, outside = values[mask], values[~mask]
    difference = inside[:, None] - outside[None, :]
    pairs = ((difference > 0).double() + 0.5 * (difference == 0)).mean()
    assert rank_auc(values, mask).item() == pytest.approx(pairs.item(), abs=1e-14)


def test_rank_auc_is_mann_whitney_of_scipy(mask):
    values = noise(2 * HALF, 2 * HALF)
    u = stats.mannwhitneyu(values[mask].numpy(), values[~mask].numpy()).statistic
    assert rank_auc(values, mask).item() == pytest.approx(u / (HALF**2 * 3 * HALF**2), abs=1e-14)


def test_squaring_raises_the_energy_but_not_the_rank_auc(mask):
    values = noise(2 * HALF, 2 * HALF) + 0.5 * mask
    assert rank_auc(values, mask) == rank_auc(values**2, mask)
    assert measure_maps.energy(values**2, mask) > measure_maps.energy(values, mask) + 0.02


def test_energy_counts_positive_mass_only(mask):
    values = torch.zeros(2 * HALF, 2 * HALF)
    values[0, 0], values[0, -1], values[-1, -1] = 1.0, 3.0, -100.0
    assert measure_maps.energy(values, mask).item() == pytest.approx(0.75)


def test_top_share_splits_ties_at_the_threshold():
    mask = torch.tensor([[True, False], [False, False]])
    values = torch.tensor([[1.0, 1.0], [5.0, 0.0]])
    # The two largest of four: the 5, and one of the two ones, of which one is inside.
    assert top_share(values, mask, share=0.5).item() == pytest.approx(0.25)


def test_right_cell_and_its_ties():
    masks = torch.stack([cell_mask(c, HALF, HALF) for c in range(4)])
    third = masks[2].double()
    assert [right_cell(third, masks, c).item() for c in range(4)] == [0, 0, 1, 0]
    assert right_cell(masks[0].double() + masks[3], masks, 3).item() == 0.5
    assert right_cell(torch.full_like(third, 0.1), masks, 1).item() == 0.25
    batch = torch.stack([masks[0].double(), third])
    assert right_cell(batch, masks, torch.tensor([0, 3])).tolist() == [1.0, 0.0]


def test_a_batch_gives_what_its_maps_give_alone(mask):
    batch = noise(5, 2 * HALF, 2 * HALF) - 0.3
    masks = torch.stack([cell_mask(c % 4, HALF, HALF) for c in range(5)])
    for measure in (rank_auc, measure_maps.energy, top_share):
        together = measure(batch, masks)
        assert together.shape == (5,)
        assert together.dtype == torch.float64
        assert together.tolist() == [measure(m, k).item() for m, k in zip(batch, masks, strict=True)]
        assert measure(batch, mask).tolist() == [measure(m, mask).item() for m in batch]


def test_measures_refuse_what_does_not_fit(mask):
    values = noise(2 * HALF, 2 * HALF)
    for measure in (rank_auc, measure_maps.energy, top_share):
        with pytest.raises(ValueError, match=r"mask: expected shape \(12, 12\).*got \(3, 3\)"):
            measure(values, torch.ones(3, 3, dtype=torch.bool))
        with pytest.raises(
            ValueError, match=r"mask: expected shape \(12, 12\) or \(2, 12, 12\).*got \(3, 12, 12\)"
        ):
            measure(values.expand(2, -1, -1), mask.expand(3, -1, -1))
        with pytest.raises(TypeError, match="mask: expected dtype bool.*float32"):
            measure(values, mask.float())
        with pytest.raises(ValueError, match="mask: expected squares inside and squares outside"):
            measure(values, torch.ones_like(mask))
        with pytest.raises(ValueError, match=r"saliency: expected a map of shape.*got \(1, 3, 12, 12\)"):
            measure(values.expand(1, 3, -1, -1), mask)
        with pytest.raises(ValueError, match="saliency: expected finite values"):
            measure(values / 0, mask)
    with pytest.raises(ValueError, match="share: expected a number in"):
        top_share(values, mask, share=0.0)
    with pytest.raises(ValueError, match=r"cell: expected indices in \[0, 2\)"):
        right_cell(values, torch.stack([mask, ~mask]), 2)
    with pytest.raises(ValueError, match=r"masks: expected shape \(M, H, W\)"):
        right_cell(values, mask, 0)


def test_overlap():
    first = noise(2, 10, 10)
    assert measure_maps.overlap(first, first).tolist() == [1.0, 1.0]
    assert measure_maps.overlap(first, -first).tolist() == [0.0, 0.0]
    ordered = torch.arange(100.0).reshape(10, 10)
    shifted = torch.roll(ordered.flatten(), 5).reshape(10, 10)  # of its ten largest, five are the other's
    assert measure_maps.overlap(ordered, shifted, share=0.1).item() == pytest.approx(0.5)
    assert measure_maps.overlap(torch.ones(10, 10), ordered, share=0.1).item() == pytest.approx(0.1)
    with pytest.raises(
        ValueError, match=r"second: expected the shape of first, \(2, 10, 10\); got \(10, 10\)"
    ):
        measure_maps.overlap(first, ordered)


def test_spearman_is_scipys_and_0_for_a_constant_map():
    first, second = noise(3, 8, 8), (noise(3, 8, 8, seed=1) * 4).round()
    expected = [
        stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)
    ]
    assert spearman(first, second).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(first[0], first[0].exp()).item() == pytest.approx(1.0)
    assert spearman(first[0], -first[0]).item() == pytest.approx(-1.0)
    assert spearman(first[0], torch.ones(8, 8)).item() == 0.0


# ---- preparing maps ----------------------------------------------------------------------------------------


def test_sum_channels_and_pool():
    colour = torch.tensor([[[[1.0]], [[-3.0]]]])
    assert sum_channels(colour).tolist() == [[[-2.0]]]
    assert sum_channels(colour[:, 0]).tolist() == [[[1.0]]]
    with pytest.raises(ValueError, match=r"attribution: expected shape.*got \(2,\)"):
        sum_channels(torch.zeros(2))
    squares = measure_maps.pool(torch.arange(16.0).reshape(4, 4), 2)
    assert squares.tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert measure_maps.pool(torch.zeros(3, 5, 4, 8), 4).shape == (3, 5, 1, 2)
    for wrong in (3, 0, 2.0, True):
        with pytest.raises(ValueError, match="square: expected an integer"):
            measure_maps.pool(torch.zeros(4, 4), wrong)


@pytest.mark.parametrize("width", [1.0, 2.0, 8.0])
def test_smooth_agrees_with_the_blur_that_maps_are_made_of(width):
    maps = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = measure_maps.smooth(maps, width), gaussian_blur(maps, width)
    assert (ours - theirs).norm() < 0.005 * (ours - ours.mean()).norm()


def test_smooth_is_a_gaussian_that_keeps_mass_and_constants():
    point = torch.zeros(2, 41, 41)
    point[0, 20, 20] = 1.0
    blurred = measure_maps.smooth(point, 3.0)
    assert blurred.dtype == point.dtype
    assert blurred[0].sum().item() == pytest.approx(1.0, abs=1e-5)
    across = torch.arange(41.0) - 20
    assert (blurred[0].sum(0) * across**2).sum().item() == pytest.approx(9.0, rel=0.01)  # variance = width^2
    assert blurred[1].abs().max() == 0  # maps do not leak into each other
    assert torch.allclose(measure_maps.smooth(torch.ones(7, 9), 5.0), torch.ones(7, 9))
    assert measure_maps.smooth(point, 0) is point
    with pytest.raises(ValueError, match="width: expected a width in pixels, a finite number >= 0"):
        measure_maps.smooth(point, -1.0)
