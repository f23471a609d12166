"""Measures on constructed maps, grids, intervals and comparisons."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from helpers.measure import maps as measure_maps
from helpers.measure.grids import (
    ALL,
    BEST,
    CENTRE,
    INK,
    METRICS,
    ORACLE,
    OTHERS,
    RANDOM,
    Grids,
    assemble,
    cell_maps,
    cell_mask,
    confident,
    controls,
    grid_pointing,
    make_grids,
)
from helpers.measure.maps import rank_auc, right_cell, spearman, sum_channels, top_share
from helpers.measure.statistics import (
    bootstrap_interval,
    compare,
    holm,
    log_log_slope,
    paired_difference,
    summarise,
)
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


def test_sum_channels_positive_and_pool():
    colour = torch.tensor([[[[1.0]], [[-3.0]]]])
    assert sum_channels(colour).tolist() == [[[-2.0]]]
    assert sum_channels(colour[:, 0]).tolist() == [[[1.0]]]
    with pytest.raises(ValueError, match=r"attribution: expected shape.*got \(2,\)"):
        sum_channels(torch.zeros(2))
    assert measure_maps.positive(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
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
    with pytest.raises(ValueError, match="width: expected a finite number"):
        measure_maps.smooth(point, -1.0)


# ---- grids -------------------------------------------------------------------------------------------------

CLASSES, SIDE = 6, 4


class Toy(torch.nn.Module):
    """Logits: the mean brightness of the image in each channel, one channel a class. Any image size."""

    def forward(self, images):
        return 40 * images.mean((2, 3))


@pytest.fixture
def pictures():
    targets = torch.arange(60) % CLASSES
    images = 0.1 * noise(60, CLASSES, SIDE, SIDE).float()
    images[torch.arange(60), targets] += 0.5 + 0.01 * torch.arange(60)[:, None, None]
    return images, targets


def grids_of(pictures, **options):
    images, targets = pictures
    return make_grids(images, targets, Toy(), **({"count": 9} | options))


def test_cell_mask_tiles_the_grid():
    masks = torch.stack([cell_mask(c, 2, 3) for c in range(4)])
    assert masks.shape == (4, 4, 6)
    assert (masks.sum(0) == 1).all()
    corners = [(0, 0), (0, 5), (3, 0), (3, 5)]
    assert [bool(masks[c][at]) for c, at in enumerate(corners)] == [True] * 4
    with pytest.raises(ValueError, match="cell: expected 0, 1, 2 or 3"):
        cell_mask(4, 2, 3)


def test_grids_hold_their_members_in_their_cells(pictures):
    images, targets = pictures
    grids = grids_of(pictures)
    assert len(grids) == 9
    assert grids.images.shape == (9, CLASSES, 2 * SIDE, 2 * SIDE)
    for cell in range(4):
        seen = grids.images[:, :, grids.cell_mask(cell)].reshape(9, CLASSES, SIDE, SIDE)
        assert torch.equal(seen, images[grids.members[:, cell]])
        assert torch.equal(grids.targets[:, cell], targets[grids.members[:, cell]])
    assert all(len(set(row)) == 4 for row in grids.targets.tolist())


def test_grids_are_reproducible_and_use_images_evenly(pictures):
    first, again, other = (grids_of(pictures, seed=s) for s in (3, 3, 4))
    assert torch.equal(first.members, again.members)
    assert not torch.equal(first.members, other.members)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    members = grids_of(pictures).members
    assert torch.equal(torch.get_rng_state(), state)  # the global chance is left alone
    # 9 grids take at most 9 of the 10 images of a class: none comes twice.
    assert members.unique().numel() == members.numel()


def test_choosing_and_reporting_halves_have_no_image_in_common(pictures):
    choosing, reporting = (grids_of(pictures, count=50, part=p) for p in ("choosing", "reporting"))
    one, two = (set(g.members.flatten().tolist()) for g in (choosing, reporting))
    assert not one & two
    assert len(one) == len(two) == 30
    assert len(one | two) == 60


def test_of_classes_with_a_single_image_half_go_to_either_part(pictures):
    images, targets = pictures
    few = torch.cat([(targets == label).nonzero()[: 10 if label < 3 else 1, 0] for label in range(6)])
    one, two = (
        make_grids(images[few], targets[few], Toy(), 20, part=p).targets.unique().tolist()
        for p in ("choosing", "reporting")
    )
    assert set(one) & set(two) == {0, 1, 2}
    assert set(one) | set(two) == set(range(6))
    assert (len(one), len(two)) == (4, 5)


def test_only_confident_and_correct_images_are_used(pictures):
    images, targets = pictures
    images = images.clone()
    images[7] = 0.5  # unsure
    wrong = targets.clone()
    wrong[10] = (wrong[10] + 1) % CLASSES
    used = make_grids(images, wrong, Toy(), 60).members.unique().tolist()
    assert set(range(60)) - set(used) == {7, 10}
    probabilities = Toy()(images).softmax(1)
    assert confident(probabilities, wrong).tolist() == used
    known = make_grids(images, wrong, Toy(), 60, probabilities=probabilities)
    assert torch.equal(known.members, make_grids(images, wrong, Toy(), 60).members)


def test_ranks_are_those_of_the_model_on_the_grid(pictures):
    grids = grids_of(pictures)
    logits = Toy()(grids.images)
    for row in range(len(grids)):
        own = logits[row, grids.targets[row]]
        assert grids.ranks[row].tolist() == own.argsort(descending=True).argsort().tolist()
        order = logits[row].argsort(descending=True).tolist()
        assert grids.class_ranks[row].tolist() == [order.index(c) for c in grids.targets[row].tolist()]


def test_grids_refuse_what_they_cannot_be_made_of(pictures):
    images, targets = pictures
    with pytest.raises(ValueError, match=r"targets: expected one class for each.*got shapes \(59,\)"):
        make_grids(images, targets[1:], Toy(), 3)
    with pytest.raises(ValueError, match='part: expected None, "choosing" or "reporting"; got \'test\''):
        grids_of(pictures, part="test")
    with pytest.raises(ValueError, match="count: expected an integer of at least 1; got 0"):
        grids_of(pictures, count=0)
    few = targets < 3
    with pytest.raises(ValueError, match=r"at least four classes.*got 3 \(30 such images"):
        make_grids(images[few], targets[few], Toy(), 3)
    with pytest.raises(ValueError, match="probabilities: expected rows that are not negative and sum to 1"):
        grids_of(pictures, probabilities=torch.ones(60, CLASSES))
    with pytest.raises(ValueError, match=r"targets: expected class indices in \[0, 6\)"):
        make_grids(images, targets + 1, Toy(), 3)


# ---- grid pointing -----------------------------------------------------------------------------------------


def own_brightness(inputs, target):
    """The channel of the target: what the toy model really looks at."""
    return inputs[torch.arange(len(inputs)), target][:, None]


def pointing(pictures, methods=None, **options):
    methods = {"own": own_brightness} if methods is None else methods
    return grid_pointing(methods, grids_of(pictures), show_progress=False, **options)


def test_a_method_that_knows_scores_1_and_controls_score_chance(pictures):
    scores = pointing(pictures, {"own": own_brightness, "not": lambda x, t: -own_brightness(x, t) + 9})
    assert list(scores.columns) == [
        "method",
        "grid",
        "cell",
        "target",
        "member",
        "rank",
        "class_rank",
        *METRICS,
    ]
    assert len(scores) == 4 * 9 * 4  # two methods, two controls
    means = scores.groupby("method")[list(METRICS)].mean()
    assert means.loc["own", "rank_auc"] == 1.0
    assert means.loc["own", "top_share"] == 1.0
    assert means.loc["own", "right_cell"] == 1.0
    assert means.loc["not", "rank_auc"] == 0.0
    assert means.loc["not", "right_cell"] == 0.0
    assert means.loc[CENTRE, "rank_auc"] == pytest.approx(0.5)
    assert means.loc[RANDOM, "rank_auc"] == pytest.approx(0.5, abs=0.05)


def test_pointing_rows_belong_to_their_grid_and_cell(pictures):
    grids = grids_of(pictures)
    scores = grid_pointing(
        {"own": own_brightness}, grids, with_controls=False, show_progress=False, batch_size=4
    )
    for row in scores.itertuples():
        for column, field in (("target", "targets"), ("member", "members"), ("rank", "ranks")):
            assert getattr(row, column) == getattr(grids, field)[row.grid, row.cell]
    assert not scores.duplicated(["grid", "cell"]).any()


def test_pointing_does_not_depend_on_the_batch_size(pictures):
    one, many = (pointing(pictures, smoothing=1.0, square=2, batch_size=b) for b in (2, 100))
    key = ["method", "grid", "cell"]
    pd.testing.assert_frame_equal(one.set_index(key).sort_index(), many.set_index(key).sort_index())


def test_maps_kept_by_cell_maps_score_like_the_method_that_made_them(pictures):
    grids = grids_of(pictures, count=5)
    kept = cell_maps(own_brightness, grids, batch_size=2)
    assert kept.shape == (5, 4, *grids.images.shape[-2:])
    options = {"with_controls": False, "show_progress": False, "smoothing": 1.0}
    once = grid_pointing({"m": kept}, grids, batch_size=3, **options)
    again = grid_pointing({"m": own_brightness}, grids, **options)
    columns = ["grid", "cell"]
    pd.testing.assert_frame_equal(
        once.sort_values(columns, ignore_index=True), again.sort_values(columns, ignore_index=True)
    )
    with pytest.raises(ValueError, match=r"\(5, 4, h, w\) for 'm'"):
        grid_pointing({"m": kept[:3]}, grids, **options)


def test_pointing_takes_small_maps_and_negative_values(pictures):
    def coarse(inputs, target):
        return torch.nn.functional.avg_pool2d(own_brightness(inputs, target), SIDE) - 0.3  # one value a cell

    scores = pointing(pictures, {"coarse": coarse, "flat": lambda x, t: -x.sum(1)}, with_controls=False)
    means = scores.groupby("method")["rank_auc"].mean()
    assert means["coarse"] > 0.9
    assert means["flat"] == 0.5  # negative everywhere: no support at all, which is chance


def test_ink_controls_are_added_for_one_channel():
    images = torch.zeros(8, 1, SIDE, SIDE)
    images[:, :, 1] = 1.0  # a line of ink: a quarter of the image
    grids = Grids(
        images=assemble(images.reshape(2, 4, 1, SIDE, SIDE)),
        targets=torch.arange(4).expand(2, 4),
        members=torch.arange(8).reshape(2, 4),
        ranks=torch.arange(4).expand(2, 4),
        class_ranks=torch.arange(4).expand(2, 4),
    )
    scores = grid_pointing({}, grids, show_progress=False)
    means = scores.groupby("method")[["rank_auc", "energy"]].mean()
    assert set(means.index) == {RANDOM, CENTRE, INK, ORACLE}
    # A quarter of the cell is ink and beats all outside, the rest ties with it: 1/4 + 3/8.
    assert means.loc[ORACLE, "rank_auc"] == pytest.approx(0.625)
    assert means.loc[ORACLE, "energy"] == 1.0
    assert means.loc[INK, "rank_auc"] == pytest.approx(0.5)
    assert INK not in controls(grids, ink=False)


def test_pointing_refuses_maps_that_do_not_fit(pictures):
    for bad, message in (
        (lambda x, t: x.sum((1, 2, 3)), r"'bad' to return a map of shape \(9, C, h, w\) or.*got \(9,\)"),
        (lambda x, t: x[:3], r"'bad' to return a map.*got \(3, 6, 8, 8\)"),
        (lambda x, t: x / 0, "'bad' to return finite values"),
        (lambda x, t: x.repeat(1, 1, 2, 2), "'bad' to return a map of at most 8 x 8 pixels; got 16 x 16"),
    ):
        with pytest.raises(ValueError, match=message):
            pointing(pictures, {"bad": bad})
    with pytest.raises(ValueError, match="square: expected an integer"):
        pointing(pictures, square=3)
    with pytest.raises(ValueError, match="methods: expected names that no control has"):
        pointing(pictures, {RANDOM: own_brightness})


# ---- intervals and comparisons -----------------------------------------------------------------------------


def test_bootstrap_interval_is_near_the_textbook_one():
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    estimate, low, high = bootstrap_interval(values)
    error = 1.96 * values.std() / np.sqrt(400)
    assert estimate == values.mean()
    assert low == pytest.approx(values.mean() - error, abs=0.05)
    assert high == pytest.approx(values.mean() + error, abs=0.05)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_bootstrap_by_group_is_as_wide_as_the_groups_are_few():
    means = np.random.default_rng(1).normal(size=30)
    values, groups = np.repeat(means, 10), np.repeat([f"photo {i}" for i in range(30)], 10)
    whole, apart = bootstrap_interval(values, groups), bootstrap_interval(values)
    alone = bootstrap_interval(means)
    assert whole.high - whole.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert whole.high - whole.low > 2.5 * (apart.high - apart.low)


def test_any_statistic_can_be_bootstrapped():
    values, groups = np.arange(20.0), np.repeat(np.arange(5), 4)
    mean = bootstrap_interval(values, groups, statistic=lambda v: v.mean(), samples=300)
    assert mean == pytest.approx(bootstrap_interval(values, groups, samples=300))
    assert bootstrap_interval(values, statistic=np.median, samples=50).estimate == 9.5


def test_bootstrap_refuses_bad_values():
    with pytest.raises(ValueError, match="values: expected at least one value"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="values: .*with NaN or infinity"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ValueError, match=r"groups: expected one group a value, shape \(2,\); got \(3,\)"):
        bootstrap_interval([1.0, 2.0], [0, 1, 2])
    with pytest.raises(ValueError, match="confidence: expected a number in"):
        bootstrap_interval([1.0, 2.0], confidence=95)
    with pytest.raises(
        ValueError, match=r"second: expected as many values as first, shape \(2,\); got \(1,\)"
    ):
        paired_difference([1.0, 2.0], [1.0])


def test_paired_difference_takes_out_what_the_cases_share():
    generator = np.random.default_rng(2)
    cases = generator.normal(0, 10, 60)
    first = cases + generator.normal(0.5, 0.5, 60)
    estimate, low, high, p_value = paired_difference(first, cases)
    assert estimate == pytest.approx((first - cases).mean())
    assert 0 < low < estimate < high < 1
    assert p_value < 0.01
    same = paired_difference(cases, cases)
    assert same == (0.0, 0.0, 0.0, 1.0)
    back = paired_difference(cases, first)
    assert (back.low, back.high) == pytest.approx((-high, -low))


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04, factors 4 3 2 1: .04 .06 .06 .04, made monotone.
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.03]).tolist() == [0.03]
    with pytest.raises(ValueError, match=r"p_values: expected numbers in \[0, 1\]"):
        holm([0.5, np.nan])


def test_summary_splits_the_best_ranked_class_from_the_others(pictures):
    scores = pointing(pictures)
    table = summarise(scores)
    assert list(table.columns) == ["method", "part", "mean", "low", "high"]
    assert list(table["part"][:3]) == [BEST, OTHERS, ALL]
    random = scores[scores["method"] == RANDOM]
    row = table[(table["method"] == RANDOM) & (table["part"] == BEST)].iloc[0]
    assert row["mean"] == pytest.approx(random[random["rank"] == 0]["rank_auc"].mean())
    assert row["low"] < row["mean"] < row["high"]
    with pytest.raises(ValueError, match="scores: expected a column 'photo'"):
        summarise(scores, group="photo")


def test_comparison_pairs_cases_whatever_their_order(pictures):
    scores = pointing(pictures, {"own": own_brightness, "same": own_brightness}).sample(
        frac=1, random_state=0
    )
    table = compare(scores, "own").set_index(["peer", "part"])
    assert table.loc[("same", ALL), "difference"] == 0
    assert table.loc[("same", ALL), "no_worse"]
    assert not table.loc[("same", ALL), "better"]
    assert table.loc[(CENTRE, OTHERS), "difference"] == pytest.approx(0.5)
    assert table.loc[(CENTRE, OTHERS), "better"]
    for part in (BEST, OTHERS, ALL):
        rows = table.xs(part, level="part")
        assert rows["p_holm"].tolist() == holm(rows["p"]).tolist()
        assert len(rows) == 3
    worse = compare(scores, CENTRE, peers=["own"])
    assert not worse["no_worse"].any()
    with pytest.raises(ValueError, match="got 'nobody'"):
        compare(scores, "nobody")
    with pytest.raises(ValueError, match="expected the same grids and cells"):
        compare(scores[(scores["method"] != "same") | (scores["grid"] > 0)], "own", peers=["same"])


def test_log_log_slope():
    x = np.array([1e-3, 1e-2, 1e-1])
    assert log_log_slope(x, 5 * x**2) == pytest.approx(2.0)
    assert log_log_slope(x, [0.0, 1e-2, 1e-1]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="y: expected positive values at two different x"):
        log_log_slope(x, [0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"y: expected as many values as x.*\(2,\) and \(3,\)"):
        log_log_slope(x, [1.0, 2.0])
    with pytest.raises(ValueError, match="not negative"):
        log_log_slope(x, [1.0, -1.0, 1.0])
