"""Insertion, deletion, infidelity and sensitivity, on models whose answers are known."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.measure import faithfulness
from helpers.measure.faithfulness import (
    area,
    fills,
    infidelity,
    insertion_minus_deletion,
    perturbation_curve,
    perturbed,
    probability,
    rank_agreement,
    sensitivity,
)
from helpers.saliency import Blurred, Constant, Logit, LogProbability, OwnMean, OwnNoise


class Weighted(nn.Module):
    """Logits: a weighted sum of the pixels, and 0."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, images):
        value = (images * self.weights).flatten(1).sum(1)
        return torch.stack([value, torch.zeros_like(value)], 1)


WEIGHTS = torch.tensor([[4.0, 1.0], [3.0, 2.0]])
MODEL = Weighted(WEIGHTS)
IMAGES = torch.ones(1, 1, 2, 2)
TARGET = torch.zeros(1, dtype=torch.long)
EMPTY = Constant(0.0)


def curve(saliency, kind, fill=EMPTY, steps=4, **options):
    return perturbation_curve(
        MODEL, IMAGES, TARGET, saliency, fill, kind, square=1, steps=steps, scores=(Logit(),), **options
    )[0, 0]


def test_deletion_takes_the_largest_first():
    torch.testing.assert_close(curve(WEIGHTS[None], "deletion"), torch.tensor([10.0, 6, 3, 1, 0]).double())
    torch.testing.assert_close(curve(-WEIGHTS[None], "deletion"), torch.tensor([10.0, 9, 7, 4, 0]).double())


def test_insertion_puts_the_largest_back_first():
    torch.testing.assert_close(curve(WEIGHTS[None], "insertion"), torch.tensor([0.0, 4, 7, 9, 10]).double())


def test_fewer_steps_take_several_squares_at_once():
    torch.testing.assert_close(curve(WEIGHTS[None], "deletion", steps=2), torch.tensor([10.0, 3, 0]).double())


def test_all_scores_come_from_the_same_passes():
    calls = []

    def model(images):
        calls.append(len(images))
        return MODEL(images)

    both = perturbation_curve(
        model, IMAGES, TARGET, WEIGHTS[None], EMPTY, "deletion", 1, 4, (Logit(), LogProbability())
    )
    assert both.shape == (2, 1, 5)
    assert calls == [1] * 5
    torch.testing.assert_close(both[1, 0, -1].exp(), torch.tensor(0.5).double())


def test_squares_are_filled_whole():
    seen = []

    def model(images):
        seen.append(images.clone())
        return images.flatten(1)[:, :2]

    saliency = torch.zeros(1, 4, 4)
    saliency[0, 2, 1] = 5.0  # in the lower left square of 2 x 2 pixels
    images = torch.ones(1, 3, 4, 4)
    perturbation_curve(model, images, TARGET, saliency, EMPTY, "deletion", 2, 4)
    assert (seen[1][:, :, 2:, :2] == 0).all()
    assert seen[1].sum() == 3 * 12


def test_the_perturbed_images_are_those_of_the_curve():
    seen = list(perturbed(IMAGES, WEIGHTS[None], EMPTY, "insertion", square=1, steps=4))
    torch.testing.assert_close(
        torch.cat([MODEL(images)[:, 0] for images in seen]).double(), curve(WEIGHTS[None], "insertion")
    )


def test_insertion_minus_deletion_is_the_difference_of_the_areas_and_changes_sign_with_the_map():
    curves = {
        kind: perturbation_curve(
            MODEL, IMAGES, TARGET, WEIGHTS[None], EMPTY, kind, 1, 4, (lambda z, t: probability(z, t),)
        )
        for kind in ("insertion", "deletion")
    }
    expected = area(curves["insertion"] - curves["deletion"])[0]
    arguments = MODEL, IMAGES, TARGET
    found = insertion_minus_deletion(*arguments, WEIGHTS[None], EMPTY, square=1, steps=4)
    torch.testing.assert_close(found, expected)
    assert found > 0 > insertion_minus_deletion(*arguments, -WEIGHTS[None], EMPTY, square=1, steps=4)


def test_ties_are_in_a_seeded_random_order():
    flat = torch.zeros(2, 6, 6)
    first = faithfulness.order(flat, 1)
    assert torch.equal(first, faithfulness.order(flat, 1))
    assert not torch.equal(first, faithfulness.order(flat, 1, seed=1))
    assert torch.equal(first.sort(1).values, torch.arange(36).expand(2, -1))
    assert not torch.equal(first[0], torch.arange(36))


def test_area_is_the_mean_height():
    assert faithfulness.area(torch.tensor([1.0, 1.0, 1.0])) == 1
    assert faithfulness.area(torch.tensor([2.0, 0.0, 0.0])) == 0.5
    with pytest.raises(ValueError, match="two values"):
        faithfulness.area(torch.tensor([1.0]))


def scored(images):
    return MODEL(images)[:, 0]


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_right_contributions_up_to_a_factor_have_no_infidelity(factor):
    value = infidelity(scored, IMAGES, factor * WEIGHTS[None], EMPTY, 1)
    torch.testing.assert_close(value, torch.zeros(1).double(), atol=1e-6, rtol=0)


def test_contributions_that_tell_nothing_have_infidelity_1():
    assert infidelity(scored, IMAGES, torch.zeros(1, 2, 2), EMPTY, 1).item() == pytest.approx(1)


def test_infidelity_by_hand_with_every_image_as_if_alone():
    weights = torch.arange(16.0).reshape(4, 4)
    model = Weighted(weights)
    images = torch.stack([torch.ones(1, 4, 4), 2 * torch.ones(1, 4, 4)])
    wrong = weights.T.expand(2, -1, -1)
    seen = []

    def function(x):
        seen.append(x[:, 0].clone())
        return model(x)[:, 0]

    values = infidelity(function, images, wrong, EMPTY, 1, samples=20)
    changed = torch.cat([x for x in seen if len(x) > 1])
    replaced = torch.stack([x == 0 for x in changed[:20]]).double()  # of the first image, in captum's passes
    claimed, change = ((replaced * w.double()).flatten(1).sum(1) for w in (wrong[0], weights))
    factor = (claimed * change).mean() / (claimed**2).mean()
    expected = (factor * claimed - change).square().mean() / change.square().mean()
    assert 0.005 < expected < 0.5
    torch.testing.assert_close(values, expected.expand(2), rtol=1e-4, atol=0)
    sides = replaced.amax(2).sum(1), replaced.amax(1).sum(1)
    assert torch.equal(sides[0] * sides[1], replaced.sum((1, 2))), "rectangles"
    assert max(side.max() for side in sides) == 2, "up to half of the side"


def test_infidelity_of_a_score_that_does_not_move_is_not_a_number():
    assert infidelity(lambda x: torch.ones(len(x)), IMAGES, WEIGHTS[None], EMPTY, 1).isnan().all()


def test_sensitivity_of_a_constant_map_is_0_and_of_a_shaking_one_is_not():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    still = sensitivity(lambda x: torch.ones_like(x), IMAGES)
    moving = sensitivity(lambda x: (x - 1) * 1e6 + 1, IMAGES)
    assert still.item() == 0
    assert moving.item() > 1
    assert torch.equal(before, torch.random.get_rng_state())


def test_sensitivity_of_the_identity_is_the_relative_size_of_the_noise():
    value = sensitivity(lambda x: x, torch.ones(1, 3, 40, 40), radius=0.03, samples=3)
    # uniform noise in +-r has a standard deviation of r / sqrt(3)
    assert value.item() == pytest.approx(0.03 / 3**0.5, rel=0.05)


def test_rank_agreement_knows_what_is_better():
    table = pd.DataFrame({"rise": [1.0, 2, 3], "fall": [3.0, 2, 1], "flat": [1.0, 1, 1]}, index=list("abc"))
    agreement = rank_agreement(table, {"rise": True, "fall": False, "flat": True})
    assert agreement.loc["rise", "fall"] == pytest.approx(1)
    assert np.isnan(agreement.loc["rise", "flat"])
    assert rank_agreement(table, {"rise": True, "fall": True, "flat": True}).loc[
        "rise", "fall"
    ] == pytest.approx(-1)


def test_fills_are_the_mean_a_blur_and_noise():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = {name: fill(images) for name, fill in fills(3.0, seed=1).items()}
    assert list(found) == ["mean", "blurred", "noise"]
    torch.testing.assert_close(found["mean"][0, 1, 5, 5], images[0, 1].mean())
    torch.testing.assert_close(found["blurred"], Blurred(3.0)(images))
    assert torch.equal(found["noise"], OwnNoise(1)(images))
    assert not torch.equal(found["noise"], OwnNoise(2)(images))
    many = torch.cat([torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)], 3)
    assert OwnNoise()(many).mean().item() == pytest.approx(0.5, abs=0.03)
    assert OwnNoise()(many).std().item() == pytest.approx(0.5, abs=0.03)
    with pytest.raises(ValueError, match="images of shape"):
        OwnMean()(torch.rand(2, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curve(WEIGHTS[None], "removal"), 'kind: expected "deletion" or "insertion"'),
        (lambda: curve(WEIGHTS, "deletion"), "one map"),
        (lambda: curve(WEIGHTS[None] * torch.nan, "deletion"), "NaN"),
        (lambda: curve(WEIGHTS[None], "deletion", steps=5), "at most one a square, 4"),
        (lambda: curve(WEIGHTS[None], "deletion", steps=0), "steps"),
        (lambda: curve(WEIGHTS[None], "deletion", fill=lambda x: x[:, :, :1]), "fill: expected images"),
        (lambda: infidelity(scored, IMAGES, torch.ones(1, 3, 3), EMPTY, 1), "contributions"),
        (lambda: infidelity(scored, IMAGES, WEIGHTS[None], EMPTY, 1, samples=0), "samples"),
        (lambda: sensitivity(lambda x: x, IMAGES, radius=0.0), "radius"),
        (lambda: rank_agreement(pd.DataFrame({"a": [1.0, 2, 3]}), {}), "better"),
        (lambda: rank_agreement(pd.DataFrame({"a": [1.0, 2]}), {"a": True}), "three methods"),
    ],
)
def test_bad_arguments_are_told(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
