"""Toys: the claims that each toy's story makes."""

import pytest
import torch

from helpers.zoo.datasets import (
    two_moons,
)
from helpers.zoo.toys import Toy, found, largest_effects, toys

TOYS = toys()
NAMES = tuple(TOYS)


def moved(toy: Toy, features) -> torch.Tensor:
    point = toy.point.clone()
    point[:, list(features)] = toy.reference[:, list(features)]
    return point


def reaches(toy: Toy, inputs: torch.Tensor) -> bool:
    direction = 1 if toy.level > toy.function(toy.point).item() else -1
    return direction * (toy.function(inputs).item() - toy.level) >= 0


def gradient(toy: Toy) -> torch.Tensor:
    point = toy.point.clone().requires_grad_()
    return torch.autograd.grad(toy.function(point).sum(), point)[0]


# Toys


def test_toys_are_those_of_the_method():
    assert NAMES == (
        "saturated sum",
        "product gate",
        "dead ReLU",
        "ring",
        "XOR network",
        "redundant OR",
        "AND",
        "distractor",
        "kernel machine",
    )


@pytest.mark.parametrize("name", NAMES)
def test_toy_shapes_and_dtypes(name):
    toy = TOYS[name]
    features = len(toy.feature_names)
    assert toy.name == name
    assert toy.point.shape == toy.reference.shape == (1, features)
    assert toy.point.dtype == toy.reference.dtype == torch.float64
    assert (toy.extent is None) == (features != 2)
    for dtype in (torch.float32, torch.float64):
        scores = toy.function(toy.point.to(dtype).expand(3, -1))
        assert scores.shape == (3, 1)
        assert scores.dtype == dtype
    if toy.extent is not None:
        left, right, bottom, top = toy.extent
        for x1, x2 in (toy.point[0].tolist(), toy.reference[0].tolist()):
            assert left < x1 < right
            assert bottom < x2 < top


@pytest.mark.parametrize("name", NAMES)
def test_drivers_reach_the_level_and_the_others_do_not(name):
    toy = TOYS[name]
    others = set(range(len(toy.feature_names))) - set(toy.drivers)
    assert not reaches(toy, toy.point)
    assert reaches(toy, moved(toy, toy.drivers))
    assert not reaches(toy, moved(toy, others))


@pytest.mark.parametrize("name", NAMES)
def test_drivers_follow_from_the_function_alone(name):
    toy = TOYS[name]
    half = abs(toy.level - toy.function(toy.point).item()) / 2
    driving = tuple(i for i, effect in enumerate(largest_effects(toy).tolist()) if effect >= half)
    assert driving == toy.drivers


def test_largest_effects_in_closed_form():
    # Three features, so that a wrong pairing of the sets would show: f = x1 * x2 + 0.1 * x3 from (1, 1, 1) to
    # 0.
    toy = Toy(
        name="gate",
        story="",
        function=lambda x: (x[:, 0] * x[:, 1] + 0.1 * x[:, 2])[:, None],
        point=torch.ones(1, 3, dtype=torch.float64),
        level=0.3,
        reference=torch.tensor([[0.0, 0.5, 0.0]], dtype=torch.float64),
        drivers=(0,),
        feature_names=("x1", "x2", "x3"),
    )
    # x1: 1.1 -> 0.1, counted to 0.3; x2: 1.1 -> 0.6; x3: 1.1 -> 1.0 (0.6 -> 0.5).
    expected = torch.tensor([0.8, 0.5, 0.1], dtype=torch.float64)
    torch.testing.assert_close(largest_effects(toy), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["saturated sum", "product gate", "dead ReLU", "ring", "redundant OR"])
def test_neither_driver_alone_is_enough(name):
    toy = TOYS[name]
    assert len(toy.drivers) == 2
    assert not any(reaches(toy, moved(toy, [driver])) for driver in toy.drivers)


def test_and_loses_everything_with_either():
    toy = TOYS["AND"]
    for driver in toy.drivers:
        assert toy.function(moved(toy, [driver])).item() == 0


def test_redundant_or_hides_from_one_at_a_time_occlusion():
    toy = TOYS["redundant OR"]
    start = toy.function(toy.point).item()
    costs = [start - toy.function(moved(toy, [i])).item() for i in range(3)]
    assert max(costs) == pytest.approx(0.1)
    assert costs[2] == pytest.approx(0.1)
    assert start - toy.function(moved(toy, [0, 1])).item() == pytest.approx(0.995)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("saturated sum", (0.0, 0.0)),
        ("product gate", (0.02, 0.2, 0.1)),
        ("dead ReLU", (0.0, 0.0, 0.1)),
        ("ring", (2.4, 2.2)),
        ("XOR network", (-1.0, -1.0, 0.1)),
        ("redundant OR", (0.1, 0.05, 0.1)),
        ("AND", (1.0, 1.0)),
        ("distractor", (1.0, 2.0)),
    ],
)
def test_gradients_in_closed_form(name, expected):
    torch.testing.assert_close(gradient(TOYS[name])[0], torch.tensor(expected, dtype=torch.float64))


def test_the_gradient_is_right_about_some_toys_and_wrong_about_others():
    right = {name for name, toy in TOYS.items() if found(gradient(toy), toy.drivers)}
    assert right == {"ring", "AND"}


def test_xor_network_is_xor_on_the_corners():
    corners = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]], dtype=torch.float64)
    assert TOYS["XOR network"].function(corners)[:, 0].tolist() == [0, 1, 1, 0]


def test_distractor_moves_the_score_by_no_more_than_its_range():
    toy = TOYS["distractor"]
    inputs = toy.point.repeat(2001, 1)
    inputs[:, 1] = torch.linspace(-1e3, 1e3, 2001, dtype=torch.float64)
    change = (toy.function(inputs) - toy.function(toy.point)).abs().max().item()
    assert 0.049 < change <= 0.05 + 1e-12


def test_kernel_machine_toy_tells_the_moons_apart():
    moons = two_moons()
    scores = TOYS["kernel machine"].function(moons.test_inputs.double())[:, 0]
    assert ((scores > 0) == (moons.test_targets == 1)).double().mean() >= 0.97


# The rule


@pytest.mark.parametrize(
    ("attribution", "drivers", "expected"),
    [
        ([1.0, 1.0, 0.0], (0, 1), True),
        ([-3.0, 1.0, 0.0], (0, 1), True),  # exactly a quarter, and signs do not count
        ([3.1, -0.9, 0.0], (0, 1), False),
        ([0.25, 0.25, 0.3], (0, 1), False),  # enough share, but another feature has more
        ([0.25, 0.25, 0.25], (0, 1), True),
        ([1.0, 1.0], (0,), True),
        ([1.0, 1.01], (0,), False),
        ([0.0, 0.0], (0, 1), False),
        ([0.0, 0.0], (0,), False),
        ([1.0, 0.0], (0,), True),
        ([1.0], (0,), True),
    ],
)
def test_found(attribution, drivers, expected):
    attribution = torch.tensor(attribution, dtype=torch.float64)
    assert found(attribution, drivers) is expected
    assert found(1e-200 * attribution[None], drivers) is expected


def test_found_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"attribution of shape \(n,\) or \(1, n\), got \(2, 3\)"):
        found(torch.ones(2, 3), (0,))
    with pytest.raises(ValueError, match="finite attribution, got .*nan"):
        found(torch.tensor([1.0, float("nan")]), (0,))
    for drivers in ((), (2,), (-1,)):
        with pytest.raises(ValueError, match="drivers to be indices from 0 to 1"):
            found(torch.ones(2), drivers)
