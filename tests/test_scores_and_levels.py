import math

import pytest
import torch

from helpers.saliency import Boundary, Drop, Logit, LogOdds, LogProbability, Margin, Value
from helpers.saliency.levels import Situation, as_level
from helpers.saliency.scores import as_score, class_indices

LOGITS = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def test_closed_forms():
    target = [1, 2]
    odds = math.log(math.exp(2.0) / (math.exp(1.0) + math.exp(-1.0)))
    assert torch.allclose(LogOdds()(LOGITS, target), torch.tensor([odds, -math.log(2)], dtype=torch.float64))
    assert Margin()(LOGITS, target).tolist() == [1.0, 0.0]
    assert Margin(other=0)(LOGITS, target).tolist() == [1.0, 0.0]
    assert Logit()(LOGITS, target).tolist() == [2.0, 0.0]
    assert torch.allclose(LogProbability()(LOGITS, target), LOGITS.softmax(1)[[0, 1], [1, 2]].log())


@pytest.mark.parametrize("score", [LogOdds(), Margin(), Margin(0), LogProbability()])
def test_a_constant_added_to_all_logits_changes_nothing(score):
    assert torch.allclose(score(LOGITS, 1), score(LOGITS + 7.5, 1))
    assert not torch.allclose(Logit()(LOGITS, 1), Logit()(LOGITS + 7.5, 1))


def test_even_odds_is_the_boundary():
    even = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    for score in (LogOdds(), Margin(), LogProbability()):
        assert score(even, 0).item() == pytest.approx(score.boundary(2), abs=1e-15)


def test_huge_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    for score in (LogOdds(), Margin(), Logit(), LogProbability()):
        assert torch.isfinite(score(logits, 1)).all()


def test_single_column_needs_its_score_named():
    column = torch.ones(3, 1)
    for score in (LogOdds(), Margin(), LogProbability()):
        with pytest.raises(ValueError, match=r"single column.*Logit\(\).*regression"):
            score(column, None)
    assert Logit()(column).tolist() == [1.0] * 3
    assert Logit()(column[:, 0]).tolist() == [1.0] * 3
    with pytest.raises(ValueError, match=r"target: expected class indices in \[0, 1\); got 1"):
        Logit()(column, 1)


def test_a_callable_is_a_score():
    assert as_score(lambda outputs: outputs[:, 0] ** 2)(LOGITS).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"one value per example, shape \(2,\); got \(2, 3\)"):
        as_score(lambda outputs: outputs)(LOGITS)
    for wrong in (LogOdds, "logodds"):
        with pytest.raises(TypeError, match="score: expected"):
            as_score(wrong)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (None, ValueError, "target: the model has 3 output columns"),
        (3, ValueError, r"target: expected class indices in \[0, 3\); got 3"),
        (-1, ValueError, r"in \[0, 3\); got -1"),
        ([0, 1, 2], ValueError, r"shape \(2,\); got \(3,\)"),
        (1.0, TypeError, "integer class indices"),
        (True, TypeError, "integer class indices"),
        ("cat", TypeError, "expected an int"),
    ],
)
def test_wrong_targets(target, error, words):
    with pytest.raises(error, match=words):
        class_indices(target, 2, 3)


def test_a_rival_is_another_class():
    with pytest.raises(ValueError, match="must differ from the target"):
        Margin(1)(LOGITS, [0, 1])
    with pytest.raises(ValueError, match=r"expected a class index in \[0, 3\); got 3"):
        Margin(3)(LOGITS, 0)


def test_levels():
    situation = Situation(torch.tensor([2.0, -1.0]), boundary=lambda: 0.5, reference=lambda: None)
    assert as_level(3).resolve(situation).tolist() == [3.0, 3.0]
    assert Value(3.0).resolve(situation).tolist() == [3.0, 3.0]
    assert Drop(0.5).resolve(situation).tolist() == [1.5, -1.5]
    assert Boundary().resolve(situation).tolist() == [0.5, 0.5]
    for wrong in (math.nan, math.inf):
        for level in (as_level, Value, Drop):
            with pytest.raises(ValueError, match="expected a finite number"):
                level(wrong)
    for wrong in ("0", True, None):
        with pytest.raises(TypeError, match="level: expected"):
            as_level(wrong)
