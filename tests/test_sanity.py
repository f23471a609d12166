"""Constructed cases with known values: what agrees, is reversed, depends on no weight, shares nothing."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import nn

from helpers.measure.maps import smooth
from helpers.measure.peers import Gradient, InputTimesGradient, SobelEdges
from helpers.measure.sanity import (
    INTACT,
    agreement,
    cascade,
    class_overlap,
    randomisation,
    randomised,
    shifted,
    weight_layers,
)
from helpers.saliency import presets
from helpers.zoo.networks import DigitNet, mlp


class Fixed:
    """A method whose map is the same for every image and model, or one a class."""

    def __init__(self, maps):
        self.maps = maps

    def attribute(self, inputs, target=None):
        return torch.stack([self.maps[c] for c in target.tolist()])[:, None]


class Following:
    """A method whose map is the image itself: it moves with the image and knows no class."""

    def attribute(self, inputs, target=None):
        return inputs


class Noise:
    """A method that returns other random values at every call."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)

    def attribute(self, inputs, target=None):
        return torch.rand(inputs.shape, generator=self.generator, dtype=inputs.dtype)


class Backwards(nn.Module):
    """Registers its layers in another order than it calls them."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, inputs):
        return self.last(self.norm(self.first(inputs)).relu())


@pytest.fixture
def images():
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    return DigitNet(seed=3).eval()


# ---- agreement ---------------------------------------------------------------------------------------------


def test_identical_maps_agree_whatever_their_scale(images):
    table = agreement(images - 0.5, 7 * (images - 0.5), images > 0.5)
    assert list(table["example"]) == [0, 1, 2]
    for column in table.columns.drop("example"):
        assert table[column].to_numpy() == pytest.approx(np.ones(3)), column


def test_a_reversed_map_has_minus_1_and_its_magnitude_1(images):
    table = agreement(images - 0.5, 0.5 - images, images > 0.2)
    for column in ("spearman", "spearman_inside"):
        assert table[column].to_numpy() == pytest.approx(-np.ones(3)), column
    for column in ("spearman_magnitude", "spearman_magnitude_inside"):
        assert table[column].to_numpy() == pytest.approx(np.ones(3)), column
    assert table["ssim"].to_numpy() == pytest.approx(np.ones(3))


def test_the_measures_are_scipys_and_scikit_images(images):
    first, second = images - 0.5, images.flip(-1) ** 2 - 0.3
    inside = torch.zeros(28, 28, dtype=torch.bool)
    inside[4:9, 3:20] = True
    table = agreement(first, second, inside)
    for i in range(3):
        a, b = first[i, 0].double().numpy(), second[i, 0].double().numpy()
        assert table["spearman"][i] == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
        within = spearmanr(abs(a[inside]), abs(b[inside])).statistic
        assert table["spearman_magnitude_inside"][i] == pytest.approx(within)
        scaled = abs(a) / abs(a).max(), abs(b) / abs(b).max()
        assert table["ssim"][i] == pytest.approx(structural_similarity(*scaled, data_range=1.0))


def test_shared_zeros_raise_the_whole_images_correlation_but_not_that_inside():
    generator = torch.Generator().manual_seed(1)
    ink = torch.zeros(1, 28, 28, dtype=torch.bool)
    ink[:, 8:20, 10:16] = True
    first, second = (torch.rand(1, 28, 28, generator=generator) * ink for _ in range(2))
    table = agreement(first, second, ink)
    assert table["spearman"].item() > 0.9
    assert abs(table["spearman_inside"].item()) < 0.3
    assert table["ssim"].item() > 0.5


def test_constant_maps_agree_with_nothing_and_small_maps_have_no_ssim(images):
    table = agreement(images, torch.zeros_like(images))
    assert (table["spearman"] == 0).all()
    assert table["ssim"].notna().all()
    assert "spearman_inside" not in table
    assert agreement(images[..., :6, :6], images[..., :6, :6])["ssim"].isna().all()


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        (torch.ones(28, 28), TypeError),
        (torch.ones(2, 28, 28, dtype=torch.bool), ValueError),
        (torch.eye(28, dtype=torch.bool) & (torch.arange(28) == 0), ValueError),
    ],
)
def test_agreement_names_a_wrong_mask(images, inside, error):
    with pytest.raises(error, match="inside"):
        agreement(images, images, inside)


# ---- weights at random -------------------------------------------------------------------------------------


def test_layers_come_in_the_order_of_the_call_with_their_normalisations(net, images):
    assert weight_layers(Backwards().eval(), torch.rand(2, 4)) == [["first", "norm"], ["last"]]
    layers = weight_layers(net, images)
    assert layers[0] == ["features.0", "features.1"]
    assert layers[-1] == ["classifier"]
    assert len(layers) == 7


class Bare(nn.Module):
    """Has a parameter of its own, and no reset_parameters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 2))

    def forward(self, inputs):
        return inputs @ self.weight


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (nn.Sequential(nn.Linear(4, 4), Bare()), "parameters of 1 without"),
        (Bare(), "the model itself"),
        (nn.ReLU(), "no parameters"),
    ],
)
def test_parameters_that_cannot_be_drawn_anew_are_named(model, named):
    with pytest.raises(TypeError, match=named):
        weight_layers(model, torch.rand(1, 4))


def test_randomising_changes_the_named_layers_of_a_copy_and_nothing_else(net):
    with torch.no_grad():
        net.features[1].running_mean.fill_(5.0)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    drawn = randomised(net, ["features.1", "classifier"], seed=4)
    after = drawn.state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    changed = {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"features.1", "classifier"}
    assert (after["features.1.running_mean"] == 0).all()
    assert not drawn.training
    again = randomised(net, ["features.3", "classifier"], seed=4).classifier
    assert torch.equal(again.weight, drawn.classifier.weight), (
        "draws of a layer depend on its name and the seed"
    )
    other = randomised(net, ["classifier"], seed=5).classifier
    assert not torch.equal(other.weight, drawn.classifier.weight)
    with pytest.raises(ValueError, match="layers.*nowhere"):
        randomised(net, ["nowhere"])


def test_the_cascade_goes_from_the_output_down_and_keeps_nothing(net, images):
    stages = list(cascade(net, images))
    names = [name for name, _ in stages]
    assert names == [INTACT, "classifier", *(f"features.{k}" for k in (15, 12, 9, 6, 3, 0))]
    assert stages[0][1] is net
    for stage, (_, model) in enumerate(stages):
        for place, name in enumerate(reversed(names[1:])):
            kept = torch.equal(model.get_submodule(name).weight, net.get_submodule(name).weight)
            assert kept == (place < len(names) - 1 - stage), (stage, name)


def test_a_map_that_knows_no_weights_stays_at_1_and_a_gradient_does_not(net, images):
    methods = {
        "edges": lambda model: SobelEdges(),
        "gradient": lambda model: Gradient(model, magnitude=False),
    }
    table = randomisation(net, methods, images, inside=images > 0.5)
    measures = ["spearman", "spearman_magnitude", "spearman_inside", "spearman_magnitude_inside", "ssim"]
    assert list(table.columns) == ["stage", "layer", "method", "example", *measures]
    assert len(table) == 8 * 2 * 3
    edges, gradient = (table[table["method"] == name] for name in methods)
    assert edges[measures].to_numpy() == pytest.approx(np.ones((24, 5)))
    assert gradient.loc[gradient["stage"] == 0, measures].to_numpy() == pytest.approx(np.ones((3, 5)))
    assert gradient.loc[gradient["stage"] == 7, "spearman"].abs().mean() < 0.3
    assert list(table.loc[table["stage"] == 1, "layer"].unique()) == ["classifier"]


def test_a_change_of_sign_is_seen_as_such():
    """A linear model whose weights are turned around: the map is turned, its magnitude stays."""

    class Turned(nn.Linear):
        def reset_parameters(self):
            if hasattr(self, "drawn"):
                with torch.no_grad():
                    self.weight.neg_()
            else:
                super().reset_parameters()
                self.drawn = True

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), Turned(64, 3)).double().eval()
    inputs = torch.rand(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    table = randomisation(model, {"ixg": InputTimesGradient}, inputs, target=[0, 2])
    last = table[table["stage"] == 1]
    assert last["spearman"].to_numpy() == pytest.approx([-1, -1])
    assert last["spearman_magnitude"].to_numpy() == pytest.approx([1, 1])


def test_the_explained_class_is_the_intact_models(net, images):
    seen = []

    class Spy:
        def attribute(self, inputs, target=None):
            seen.append(target.tolist())
            return inputs

    randomisation(net, {"spy": lambda model: Spy()}, images)
    assert seen == [net(images).argmax(1).tolist()] * 8


def test_a_preset_and_other_networks_go_through(net, images):
    table = randomisation(net, {"preset": presets.contrasts}, images[:1], target=3)
    assert np.isfinite(table["spearman"]).all()
    assert table["stage"].max() == 7
    with pytest.raises(ValueError, match="methods"):
        randomisation(net, {}, images)
    tabular = mlp(4, 2).eval()
    with pytest.raises(ValueError, match="attribution"):
        randomisation(tabular, {"gradient": Gradient}, torch.rand(2, 4), target=0)


# ---- the class ---------------------------------------------------------------------------------------------


def test_disjoint_maps_share_nothing_and_equal_ones_all(images):
    low = torch.linspace(-1, 1, 784).reshape(28, 28)
    apart = class_overlap(Fixed({0: low, 1: -low}), images, torch.tensor([[0, 1]] * 3), shifts=[(0, 0)])
    for column, value in (("between", 0), ("within", 1), ("ratio", 0)):
        assert (apart[column] == value).all()
    equal = class_overlap(Fixed({0: low, 1: 3 * low}), images, torch.tensor([[1, 0]] * 3), shifts=[(0, 0)])
    assert (equal["ratio"] == 1).all()
    assert list(equal.columns) == ["width", "example", "first", "second", "between", "within", "ratio"]
    assert list(equal["first"]) == [1, 1, 1]


def test_half_of_the_squares_in_common():
    first, second = torch.zeros(10, 10), torch.zeros(10, 10)
    first[0], second[0, 5:], second[1, 5:] = 1.0, 1.0, 1.0
    table = class_overlap(
        Fixed({0: first, 1: second}),
        torch.rand(1, 1, 10, 10),
        torch.tensor([[0, 1]]),
        share=0.1,
        shifts=[(0, 0)],
    )
    assert table["between"].item() == pytest.approx(0.5)
    assert table["ratio"].item() == pytest.approx(0.5)


def test_a_map_that_moves_with_the_image_agrees_with_itself():
    image = torch.zeros(1, 1, 28, 28)
    image[..., 8:18, 9:17] = torch.rand(10, 8, generator=torch.Generator().manual_seed(2)) + 0.5
    table = class_overlap(Following(), image, torch.tensor([[0, 1]]))
    assert table["within"].item() == pytest.approx(1.0)
    assert table["ratio"].item() == pytest.approx(1.0)


def test_noise_does_not_win(images):
    classes = torch.tensor([[0, 1]] * 3)
    table = class_overlap(Noise(), images, classes)
    assert table["between"].mean() < 0.12
    assert 0.5 < table["between"].mean() / table["within"].mean() < 2.0
    seeds = class_overlap(Noise(0), images, classes, again=Noise(1), shifts=[(0, 0)])
    assert seeds["within"].mean() < 0.12


def test_widths_smooth_all_maps_and_stand_apart(images):
    classes = torch.tensor([[0, 1]] * 3)
    both = class_overlap(Following(), images, classes, widths=[0.0, 3.0])
    assert list(both["width"]) == [0.0] * 3 + [3.0] * 3
    for width, part in both.groupby("width"):
        alone = class_overlap(Following(), images, classes, widths=[width])
        assert part["within"].to_numpy() == pytest.approx(alone["within"].to_numpy())
    # a Gaussian before or after the change of classes is the same: maps that are blurred already
    blurred = Fixed({0: smooth(images[0, 0], 3.0), 1: smooth(images[1, 0], 3.0)})
    raw = Fixed({0: images[0, 0], 1: images[1, 0]})
    first, second = (
        class_overlap(method, images, classes, shifts=[(0, 0)], widths=[width])["between"]
        for method, width in ((raw, 3.0), (blurred, 0.0))
    )
    assert first.to_numpy() == pytest.approx(second.to_numpy())
    assert (first != class_overlap(raw, images, classes)["between"]).all()


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-1, 3), (0, -2), (0, 0)])
def test_a_shift_moves_by_whole_pixels_and_back(images, down, right):
    moved = shifted(images, down, right)
    assert moved.shape == images.shape
    rolled = torch.roll(images, (down, right), (-2, -1))
    assert torch.equal(moved[..., 4:-4, 4:-4], rolled[..., 4:-4, 4:-4])
    back = shifted(moved, -down, -right)
    assert torch.equal(back[..., 4:-4, 4:-4], images[..., 4:-4, 4:-4])
    if down > 0:
        assert torch.equal(moved[..., 0, :], images[..., 0, :])
    with pytest.raises(ValueError, match="shift"):
        shifted(images, 28, 0)


@pytest.mark.parametrize(
    ("classes", "options", "named"),
    [
        (torch.tensor([0, 1]), {}, "classes"),
        (torch.tensor([[0, 1], [2, 2], [0, 1]]), {}, "different"),
        (torch.tensor([[0, 1]] * 3), {"shifts": []}, "shifts"),
        (torch.tensor([[0, 1]] * 3), {"widths": []}, "widths"),
    ],
)
def test_class_overlap_names_a_wrong_argument(images, classes, options, named):
    with pytest.raises(ValueError, match=named):
        class_overlap(Following(), images, classes, **options)
