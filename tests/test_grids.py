"""Grids of images, and what pointing into their cells gives."""

import pandas as pd
import pytest
import torch
from pictures import CLASSES, SIDE, Toy, grids_of, some_pictures

from helpers.measure.grids import (
    CENTRE,
    INK,
    METRICS,
    ORACLE,
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

# ---- grids -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    return some_pictures()


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
