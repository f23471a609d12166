"""Scenes of objects at known places, and what pointing in them gives."""

import pytest
import torch
from pictures import CLASSES, SIDE, Toy, grids_of, noise, some_pictures

from helpers.measure.grids import grid_pointing
from helpers.measure.maps import pool, rank_auc
from helpers.measure.scenes import insets, of_grids, planted, pointing

LARGE = 16


@pytest.fixture
def pictures():
    return some_pictures()


@pytest.fixture
def photos():
    """The same with more pixels, constant in each image: resizing changes nothing."""
    images, targets = some_pictures()
    return images.mean((2, 3), keepdim=True).expand(-1, -1, LARGE, LARGE).contiguous(), targets


@pytest.fixture(params=["insets", "planted"])
def make(request, pictures, photos):
    if request.param == "insets":
        return lambda count=9, **options: insets(*photos, Toy(), count, **options)
    return lambda count=9, **options: planted(
        *pictures, Toy(), count, **({"side": 3 * SIDE, "objects": 3} | options)
    )


# ---- what all scenes have in common ------------------------------------------------------------------------


def test_scenes_hold_images_classes_masks_and_ranks(make, pictures):
    scenes = make()
    targets = pictures[1]
    assert (len(scenes), len(scenes[2:4])) == (9, 2)
    assert torch.equal(scenes[2:4].masks, scenes.masks[2:4])
    assert torch.equal(scenes.targets, targets[scenes.members])
    assert all(len(set(row)) == scenes.targets.shape[1] for row in scenes.targets.tolist())
    assert scenes.masks.dtype == torch.bool
    assert scenes.masks.shape == (*scenes.targets.shape, *scenes.images.shape[-2:])
    assert (scenes.masks.sum(1) <= 1).all()  # no overlap
    logits = Toy()(scenes.images)
    for row in range(len(scenes)):
        own = logits[row, scenes.targets[row]]
        assert scenes.ranks[row].tolist() == own.argsort(descending=True).argsort().tolist()
        order = logits[row].argsort(descending=True).tolist()
        assert scenes.class_ranks[row].tolist() == [order.index(c) for c in scenes.targets[row].tolist()]


def test_scenes_are_reproducible_and_leave_the_global_chance_alone(make):
    state = torch.get_rng_state()
    first, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.masks, other.masks)


def test_choosing_and_reporting_halves_have_no_image_in_common(make):
    choosing, reporting = (
        set(make(60, part=p).members.flatten().tolist()) for p in ("choosing", "reporting")
    )
    assert not choosing & reporting
    assert len(choosing | reporting) == 60


def test_scenes_refuse_what_they_cannot_be_made_of(make, pictures):
    with pytest.raises(ValueError, match="count: expected an integer of at least 1; got 0"):
        make(0)
    with pytest.raises(ValueError, match='part: expected None, "choosing" or "reporting"; got \'all\''):
        make(part="all")
    with pytest.raises(ValueError, match=r"probabilities: expected one row for each of the 60.*\(2, 6\)"):
        make(probabilities=torch.ones(2, CLASSES) / CLASSES)
    with pytest.raises(ValueError, match=r"at least (two|three) classes.*probability of at least 1.1; got 0"):
        make(confidence=1.1)


# ---- mosaics -----------------------------------------------------------------------------------------------


def test_grids_are_scenes_with_the_same_scores(pictures):
    grids = grids_of(pictures)
    scenes = of_grids(grids)
    assert torch.equal(scenes.masks[3], torch.stack([grids.cell_mask(cell) for cell in range(4)]))
    maps = noise(9, 4, 2 * SIDE, 2 * SIDE) - 0.5
    for square, smoothing in ((1, 0.0), (2, 0.7)):
        options = {"square": square, "smoothing": smoothing}
        expected = grid_pointing(
            {"noise": maps}, grids, with_controls=False, show_progress=False, **options
        ).sort_values(["grid", "cell"])
        found = pointing(maps, scenes, **options)
        for column in ("target", "member", "rank", "class_rank"):
            assert found[column].tolist() == expected[column].tolist()
        assert found["rank_auc"].tolist() == pytest.approx(expected["rank_auc"].tolist())


# ---- insets ------------------------------------------------------------------------------------------------


def test_insets_show_one_photo_within_another(photos):
    images, targets = photos
    scenes = insets(images, targets, Toy(), 400)
    background, inset = scenes.masks.unbind(1)
    assert torch.equal(background, ~inset)
    sides = set()
    for row in range(400):
        rows, columns = inset[row].any(1).sum().item(), inset[row].any(0).sum().item()
        assert rows == columns
        assert rows * columns == inset[row].sum()  # a square
        sides.add(rows)
        for mask, member in zip((background[row], inset[row]), scenes.members[row], strict=True):
            expected = images[member, :, :1, 0].expand(-1, mask.sum())
            torch.testing.assert_close(scenes.images[row][:, mask], expected)
    assert sides == {4, 5, 6, 7, 8}  # 25 to 50 % of 16 px
    assert inset.any(0).all()  # every place is reached
    assert (scenes.ranks == torch.tensor([0, 1])).all()  # of constant photos the larger part shines more


def test_insets_keep_the_proportions_and_the_images_given(photos):
    images, targets = photos[0][..., :8].clone(), photos[1]
    scenes = insets(images, targets, Toy(), 3, low=0.5, high=0.5)
    assert torch.equal(images, photos[0][..., :8])
    inset = scenes.masks[:, 1]
    assert inset.any(2).sum(1).tolist() == [8] * 3
    assert inset.any(1).sum(1).tolist() == [4] * 3


def test_an_inset_is_the_photo_resized_with_antialiasing():
    stripes = torch.zeros(2, 2, LARGE, LARGE)
    stripes[0, 0, :, ::2] = stripes[1, 1, :, ::2] = 1.0
    scenes = insets(stripes, torch.tensor([0, 1]), lambda x: 20 * x.mean((2, 3)), 4, low=0.25, high=0.25)
    for row in range(4):
        inside = scenes.images[row, scenes.targets[row, 1]][scenes.masks[row, 1]]
        assert (inside - 0.5).abs().max() < 0.2  # without it, 0 or 1 would be left


@pytest.mark.parametrize("sides", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0)])
def test_insets_refuse_other_sides(photos, sides):
    with pytest.raises(ValueError, match="low, high: expected 0 < low <= high < 1; got"):
        insets(*photos, Toy(), 3, low=sides[0], high=sides[1])


# ---- planted digits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [2, 3, 4])
def test_planted_digits_lie_in_their_boxes_on_an_empty_canvas(pictures, objects):
    images, targets = pictures
    scenes = planted(images, targets, Toy(), 400, side=3 * SIDE, objects=objects)
    for row in range(400):
        for mask, member in zip(scenes.masks[row], scenes.members[row], strict=True):
            seen = scenes.images[row][:, mask].reshape(CLASSES, SIDE, SIDE)
            assert torch.equal(seen, images[member])
        assert (scenes.images[row][:, ~scenes.masks[row].any(0)] == 0).all()
    assert scenes.masks.any(1).any(0).all()  # every place is reached


def test_planted_digits_refuse_a_canvas_that_is_too_small(pictures):
    assert planted(*pictures, Toy(), 3, side=2 * SIDE, objects=4).masks.any(1).all()  # they just fit
    with pytest.raises(ValueError, match="side: expected a canvas that holds 4 images of 4 x 4 px.*got 7 px"):
        planted(*pictures, Toy(), 3, side=2 * SIDE - 1, objects=4)
    with pytest.raises(ValueError, match="side: expected an integer of at least 1; got 8.5"):
        planted(*pictures, Toy(), 3, side=8.5)
    with pytest.raises(ValueError, match="objects: expected 2, 3 or 4; got 5"):
        planted(*pictures, Toy(), 3, side=40, objects=5)


# ---- pointing ----------------------------------------------------------------------------------------------


def test_pointing_compares_squares_inside_with_squares_outside(make):
    scenes = make()
    count, objects, height, width = scenes.masks.shape
    maps = noise(count, objects, height, width) - 0.5
    table = pointing(maps, scenes)
    assert table["scene"].tolist() == [scene for scene in range(count) for _ in range(objects)]
    assert table["object"].tolist() == list(range(objects)) * count
    for at, column in ((scenes.targets, "target"), (scenes.members, "member"), (scenes.ranks, "rank")):
        assert table[column].tolist() == at.flatten().tolist()
    assert table["class_rank"].tolist() == scenes.class_ranks.flatten().tolist()
    expected = rank_auc(maps.clamp_min(0).flatten(0, 1), scenes.masks.flatten(0, 1))
    assert table["rank_auc"].tolist() == pytest.approx(expected.tolist())
    assert (pointing(scenes.masks.double(), scenes)["rank_auc"] == 1).all()
    assert (pointing(-scenes.masks.double(), scenes)["rank_auc"] == 0.5).all()  # the positive part is empty


def test_mixed_squares_count_nowhere(photos):
    scenes = insets(*photos, Toy(), 20, low=0.4, high=0.5)
    share = pool(scenes.masks.double(), 2)
    mixed = ((share > 0) & (share < 1)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert mixed.any()
    maps = scenes.masks.double()
    worst = torch.where(mixed, 100 * (1 - maps), maps)  # wrong, but in mixed squares alone
    assert (pointing(worst, scenes, square=2)["rank_auc"] == 1).all()


def test_small_maps_are_enlarged(photos):
    scenes = insets(*photos, Toy(), 5, low=0.5, high=0.5)
    maps = noise(5, 2, 4, 4)
    large = torch.nn.functional.interpolate(maps, (LARGE, LARGE), mode="bilinear")
    assert pointing(maps, scenes).equals(pointing(large, scenes))


def test_pointing_refuses_other_maps_and_squares(photos):
    scenes = insets(*photos, Toy(), 5)
    with pytest.raises(ValueError, match=r"maps: expected shape \(5, 2, h, w\); got \(5, 16, 16\)"):
        pointing(torch.zeros(5, LARGE, LARGE), scenes)
    with pytest.raises(ValueError, match="maps: expected a map of at most 16 x 16 pixels; got 17 x 16"):
        pointing(torch.zeros(5, 2, 17, 16), scenes)
    with pytest.raises(ValueError, match="maps: expected finite values"):
        pointing(torch.full((5, 2, 16, 16), float("nan")), scenes)
    with pytest.raises(ValueError, match="square: expected an integer of at least 1 that divides"):
        pointing(torch.zeros(5, 2, 16, 16), scenes, square=3)
    with pytest.raises(
        ValueError, match="square: expected squares that lie wholly inside.*got 8 px, too large"
    ):
        pointing(torch.zeros(5, 2, 16, 16), scenes, square=8)
