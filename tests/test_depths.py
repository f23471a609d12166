"""Depths: blocks of real architectures, mosaics, and closed forms of both members, their miss and their gain."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torchvision import models as vision

from helpers.measure.depths import by_depth, distinct_classes, mosaics, per_depth, within_depth
from helpers.measure.grids import Grids
from helpers.measure.statistics import bootstrap_interval
from helpers.saliency import Input, Layer, Logit, LogOdds, NonlinearSaliency, StraightTangent, blocks
from helpers.show.numbers import depth_curve
from helpers.zoo.networks import Preprocessed, predict, taking

SIDE = 8


class Block(nn.Module):
    """A block in the sense of `blocks`: it has a part of its own."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, values):
        return self.part(values)


class Elementwise(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, values):
        return self.function(values)


class Colours(nn.Module):
    """Four channels, one a class: the logit of a class is the sum of a function over its channel's pixels."""

    def __init__(self, function):
        super().__init__()
        same = nn.Conv2d(4, 4, 1, bias=False).double()
        same.weight.data = torch.eye(4, dtype=torch.double)[:, :, None, None]
        self.stack = nn.Sequential(Block(same), Block(Elementwise(function)))

    def forward(self, images):
        return self.stack(images).sum((2, 3))


def photos(count=8, brightness=2.0):
    """One colour each: number n has nothing but channel n % 4, of a brightness of its own."""
    images = torch.zeros(count, 4, SIDE, SIDE, dtype=torch.double)
    for number in range(count):
        images[number, number % 4] = brightness + 0.1 * number
    return images, torch.arange(count) % 4


def depth_table(function, images=None, **options):
    model = Colours(function)
    own, targets = photos()
    grids = mosaics(model, own if images is None else images, targets)
    options = {"square": 1, "show_progress": False} | options
    return by_depth(model, grids, 0.0, **options)


# ---- blocks ------------------------------------------------------------------------------------------------


def names_of(model, side):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return list(blocks(model.eval(), torch.rand(1, 3, side, side)))


def test_blocks_of_a_residual_network():
    names = names_of(vision.resnet18(num_classes=10), 64)
    assert names == [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]


def test_blocks_of_an_efficientnet_are_its_inverted_bottlenecks_between_stem_and_head():
    model = vision.efficientnet_b0(num_classes=10)
    names = names_of(model, 64)
    kinds = [type(model.get_submodule(name)).__name__ for name in names]
    assert kinds == ["Conv2dNormActivation", *["MBConv"] * 16, "Conv2dNormActivation"]
    assert names == sorted(names, key=lambda name: [int(part) for part in name.split(".")[1:]])


def test_a_chain_without_blocks_is_given_by_its_resolutions():
    # VGG: one sequence of layers; the last one of each resolution, its activation
    model = vision.VGG(vision.vgg.make_layers([8, "M", 8, 8, "M", 8]), num_classes=2, init_weights=False)
    model.classifier = nn.Linear(8 * 7 * 7, 2)
    assert names_of(model, 32) == ["features.1", "features.6", "features.9"]


def test_a_transformer_has_feature_maps_at_its_patches_only():
    model = vision.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16)
    assert names_of(model, 32) == ["conv_proj"]


def test_channels_last_is_no_feature_map():
    # swin's blocks return (N, h, w, c); 8 = 32 / 4 places, then 4
    model = vision.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [2, 2], num_classes=2)
    assert all("block" not in name for name in names_of(model, 32))


def test_a_block_that_is_called_twice_is_left_out():
    class Twice(Colours):
        def forward(self, images):
            return self.stack(self.stack[0](images)).sum((2, 3))

    model = Twice(torch.relu)
    assert list(blocks(model, photos()[0][:1])) == ["stack.1"]


def test_a_network_without_feature_maps_has_no_blocks():
    assert blocks(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2)) == {}


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8)])
def test_blocks_want_one_image(shape):
    with pytest.raises(ValueError, match="inputs: expected one image"):
        blocks(Colours(torch.relu), torch.rand(shape))


# ---- mosaics -----------------------------------------------------------------------------------------------


def test_a_network_of_one_size_gets_resized_images_and_others_stay_as_they_are():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    wide = torch.rand(2, 3, 8, 8)
    any_size = taking(model, wide, 4)
    assert isinstance(any_size, Preprocessed)
    small = nn.functional.interpolate(wide, (4, 4), mode="bilinear", antialias=True)
    assert torch.allclose(any_size(wide), model(small))
    assert taking(model, wide[..., :4, :4], 4) is model


def test_vision_transformers_take_mosaics_through_any_size():
    model = vision.VisionTransformer(32, 8, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=5)
    wide = torch.rand(1, 3, 64, 64)
    any_size = taking(model.eval(), wide, 32)
    assert any_size(wide).shape == (1, 5)
    assert list(blocks(any_size, wide)) == ["model.conv_proj"]


def test_distinct_classes_have_the_largest_product():
    probabilities = torch.rand(4, 5, generator=torch.Generator().manual_seed(3)).softmax(1)
    found = distinct_classes(probabilities).tolist()
    best = max(
        itertools.permutations(range(5), 4),
        key=lambda p: np.prod([probabilities[i, k] for i, k in enumerate(p)]),
    )
    assert found == list(best)


def test_distinct_classes_are_the_first_ones_where_these_differ():
    assert distinct_classes(torch.tensor([[0.1, 0.9], [0.6, 0.4]])).tolist() == [1, 0]
    # two of one kind: the surer one keeps it, zeros and all
    assert distinct_classes(torch.tensor([[1.0, 0.0], [0.7, 0.3]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [(torch.rand(3, 2), "M <= K"), (torch.rand(3), "M <= K"), (torch.tensor([[torch.nan, 1.0]]), "finite")],
)
def test_distinct_classes_refuse(probabilities, words):
    with pytest.raises(ValueError, match=f"probabilities: .*{words}"):
        distinct_classes(probabilities)


def test_mosaics_keep_order_and_rank_the_classes():
    images, targets = photos(9)
    model = Colours(torch.relu)
    grids = mosaics(model, images, targets)
    assert isinstance(grids, Grids)
    assert len(grids) == 2  # the ninth is left over
    assert grids.members.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert torch.equal(grids.images[1, :, :SIDE, SIDE:], images[5])
    assert torch.equal(grids.images[1, :, SIDE:, :SIDE], images[6])
    # the later in a mosaic, the brighter
    assert grids.ranks.tolist() == [[3, 2, 1, 0]] * 2
    assert grids.class_ranks.tolist() == [[3, 2, 1, 0]] * 2
    logits = predict(model, grids.images)
    assert torch.equal(logits[0].argsort(descending=True).argsort(), grids.class_ranks[0])


def test_mosaics_refuse():
    images, targets = photos()
    model = Colours(torch.relu)
    with pytest.raises(ValueError, match="four distinct classes in a mosaic; got"):
        mosaics(model, images, torch.tensor([0, 1, 2, 2, 0, 1, 2, 3]))
    for wrong in ((images[:3], targets[:3]), (images, targets[:4]), (images[0], targets[0])):
        with pytest.raises(ValueError, match="images, targets: expected shapes"):
            mosaics(model, *wrong)


# ---- every depth -------------------------------------------------------------------------------------------


def test_on_a_linear_network_both_members_agree_and_nothing_is_missed():
    noisy = photos()[0] + torch.rand(8, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    table = depth_table(lambda values: 3 * values, noisy.double())
    assert list(table["module"].unique()) == ["input", "stack.0", "stack.1"]
    assert len(table) == 3 * 2 * 4
    assert table["residual"].max() < 1e-12
    assert table["gain"].abs().max() < 1e-12
    # its own colour fills the cell, the noise is darker
    assert table["linear"].min() == 1


@pytest.mark.parametrize("power", [2, 3])
def test_the_residual_of_a_power_is_known(power):
    # x^p from x to 0: the tangent predicts a change of -p x^p, the score changes by -x^p
    table = depth_table(lambda values: values**power)
    before, after = table[table["depth"] < 2], table[table["depth"] == 2]
    assert np.allclose(before["residual"], power - 1)
    assert after["residual"].max() < 1e-12


def test_where_units_saturate_the_linear_member_sees_nothing_and_the_other_one_all():
    # flat beyond 1, and every photo is there: no slope, no map, chance
    table = depth_table(lambda values: values.clamp(max=1.0))
    before, after = table[table["depth"] < 2], table[table["depth"] == 2]
    assert (before["linear"] == 0.5).all()
    assert (before["nonlinear"] == 1).all()
    assert np.allclose(before["gain"], 0.5)
    assert np.allclose(before["residual"], 1)  # all of the change is missed
    assert (after[["linear", "nonlinear"]] == 1).all(axis=None)
    assert after["residual"].max() < 1e-12


def test_one_step_of_the_straight_path_may_miss_the_slope_that_more_steps_find():
    few, many = (depth_table(lambda v: v.clamp(max=0.9), steps=steps) for steps in (1, 4))
    assert (few.loc[few["depth"] == 0, "nonlinear"] == 0.5).all()
    assert (many.loc[many["depth"] == 0, "nonlinear"] == 1).all()


def test_the_residual_is_the_completeness_error_of_every_class():
    model = Colours(torch.tanh)
    images, targets = photos(4, 0.5)
    grids = mosaics(model, images, targets)
    reference = lambda inputs: 0.1 * inputs  # noqa: E731
    table = by_depth(model, grids, reference, score=LogOdds(), square=1, show_progress=False)
    for depth, place in enumerate(
        (Input(reference=reference), Layer(model.stack[0], Input(reference=reference)))
    ):
        member = NonlinearSaliency(model, LogOdds(), place, path=StraightTangent())
        run = member.explain(grids.images.repeat(4, 1, 1, 1), grids.targets[0])
        wanted = (run.completeness_error / (run.score_end - run.score_start)).abs()
        assert wanted.min() > 1e-3
        rows = table[table["depth"] == depth].sort_values("cell")
        assert np.allclose(rows["residual"], wanted, rtol=1e-9)


def test_modules_may_be_named_and_the_model_stays_as_it_was():
    model = Colours(torch.relu)
    images, targets = photos(4)
    grids = mosaics(model, images, targets)
    table = by_depth(model, grids, 0.0, {"mine": model.stack[1]}, Logit(), square=1, show_progress=False)
    assert list(table["module"].unique()) == ["input", "mine"]
    assert table["member"].tolist() == [0, 1, 2, 3] * 2
    assert table["rank"].tolist() == [3, 2, 1, 0] * 2
    assert not any(module._forward_hooks for module in model.modules())


def test_by_depth_refuses_what_is_no_score_and_squares_that_do_not_fit():
    with pytest.raises(TypeError, match="score"):
        depth_table(torch.relu, score="logit")
    with pytest.raises(ValueError, match="square"):
        depth_table(torch.relu, square=5)


# ---- summary and curve -------------------------------------------------------------------------------------


def test_the_summary_has_means_medians_and_their_intervals_by_photo():
    table = pd.concat([depth_table(lambda v: v.clamp(max=2.35)), depth_table(lambda v: v**2)])
    summary = per_depth(table, samples=50, seed=1)
    assert summary.index.tolist() == [0, 1, 2]
    first = table[table["depth"] == 0]
    for name, statistic in (("gain", np.mean), ("residual", np.median)):
        wanted = bootstrap_interval(first[name], first["member"], statistic, 50, 1)
        assert tuple(summary.loc[0, [name, f"{name} low", f"{name} high"]]) == tuple(wanted)
    assert 0 < summary.loc[0, "gain"] < 0.5


def test_the_curve_shows_both_members_above_and_the_residual_below():
    summary = per_depth(depth_table(lambda v: v**2), samples=20)
    figure = depth_curve(summary, title="a network")
    assert type(figure) is Figure
    top, below = figure.axes
    curves = {line.get_label(): line for line in top.lines + below.lines}
    for name in ("linear", "nonlinear", "residual"):
        assert np.allclose(curves[name].get_ydata(), summary[name])
        assert list(curves[name].get_xdata()) == [0, 1, 2]
    assert top.get_title() == "a network"
    assert below.get_yscale() == "linear"  # 0 after the last block has no logarithm
    assert depth_curve(summary.iloc[:2]).axes[1].get_yscale() == "log"


def test_summary_and_curve_refuse_other_tables():
    table = depth_table(torch.relu)
    with pytest.raises(ValueError, match="table: expected rows with the columns of by_depth"):
        per_depth(table.drop(columns="gain"))
    with pytest.raises(ValueError, match="got 0 rows"):
        per_depth(table.iloc[:0])
    with pytest.raises(ValueError, match="without residual low"):
        depth_curve(per_depth(table, samples=5).drop(columns="residual low"))


def test_within_a_depth_only_the_order_at_that_depth_counts():
    rows = []
    for depth, shift in enumerate((0.0, 10.0)):  # both grow with depth, which must not count
        for member in range(12):
            for cell in range(2):
                value = (member * 7 + cell * 5) % 12
                rows.append((depth, member, shift + value, shift - value))
    table = pd.DataFrame(rows, columns=["depth", "member", "gain", "residual"])
    found = within_depth(table, samples=200)
    assert found.estimate == pytest.approx(-1.0)
    assert found.high < -0.9
    same = within_depth(table.assign(residual=table["gain"]), samples=200)
    assert same.estimate == pytest.approx(1.0)
    random = torch.rand(len(table), generator=torch.Generator().manual_seed(0)).numpy()
    chance = within_depth(table.assign(residual=random), samples=200)
    assert chance.low < 0 < chance.high
    assert within_depth(table, samples=200) == found  # seeded


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="gain"), "table: expected rows with depth, member, gain and residual"),
        (lambda t: t.iloc[:3], "table: expected the same cells, in one order, at every depth"),
    ],
)
def test_within_a_depth_needs_the_same_cells_everywhere(change, words):
    table = pd.DataFrame({"depth": [0, 0, 1, 1], "member": [0, 1, 0, 1], "gain": 1.0, "residual": 1.0})
    with pytest.raises(ValueError, match=words):
        within_depth(change(table), samples=10)
