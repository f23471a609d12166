"""A witness: shares in closed form on networks that are known, and the table of what it says."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.measure.statistics import proportion_interval
from helpers.measure.witness import names_class, witness_share, witness_table
from helpers.saliency import Logit, LogOdds, LogProbability, Margin
from helpers.zoo import networks
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import DIGIT_WITNESS_FILE, accuracy, digit_net, digit_witness, predict


def column(factor: float = 1.0):
    """A network of two classes whose log-odds of class 0 are `factor` times the only number of its input."""
    return lambda x: torch.cat([factor * x, 0 * x], dim=1)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


# ---- the witness that comes with the repository -------------------------------------------------------------


def test_the_digit_witness_knows_digits_and_is_small():
    split, witness = mnist5k(), digit_witness()
    assert accuracy(witness, split.test_inputs, split.test_targets) >= 0.95
    assert DIGIT_WITNESS_FILE.stat().st_size < 500_000
    assert not witness.training
    assert not any(parameter.requires_grad for parameter in witness.parameters())


def test_the_digit_witness_is_another_build():
    assert not [layer for layer in digit_witness().modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    split = mnist5k()
    wrong = [
        predict(network, split.test_inputs).argmax(1) != split.test_targets
        for network in (digit_net(), digit_witness())
    ]
    assert (wrong[0] & wrong[1]).sum() < wrong[1].sum() / 2, "it errs elsewhere"


def test_the_witness_is_trained_for_another_data_set(monkeypatch, tmp_path):
    split = mnist5k()
    small = type(split)(
        split.train_inputs[:64],
        split.train_targets[:64],
        split.test_inputs,
        split.test_targets,
        split.feature_names,
        split.class_names,
    )
    monkeypatch.setattr(networks, "image_split", lambda name: small)
    monkeypatch.setattr(networks, "CACHE_FOLDER", tmp_path)
    first = digit_witness(dataset="FashionMNIST", epochs=1, show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["digit_witness_FashionMNIST.pt"]
    again = digit_witness(dataset="FashionMNIST")
    retrained = digit_witness(retrain=True, epochs=1, show_progress=False)
    for network in (again, retrained):  # the same images, epochs and seed
        assert torch.equal(first[1].weight, network[1].weight)
        assert not any(parameter.requires_grad for parameter in network.parameters())


# ---- its share ----------------------------------------------------------------------------------------------


def test_share_in_closed_form():
    start, end = numbers(-4, -4, -4, -4, -2), numbers(-4, -1, 0, 2, -3)
    expected = torch.tensor([0.0, 0.75, 1.0, 1.5, -0.5], dtype=torch.float64)
    for factor in (1.0, 7.0):  # a share has no unit
        torch.testing.assert_close(witness_share(column(factor), start, end, 0), expected)
    against = witness_share(column(), -start, -end, [1] * 5)  # class 1 has the opposite log-odds
    torch.testing.assert_close(against, expected)


def test_share_means_nothing_at_even_odds_and_beyond():
    share = witness_share(column(), numbers(0, 3, -1), numbers(5, -5, 0), 0)
    assert share.isnan().tolist() == [True, True, False]


def test_share_follows_the_score_and_its_boundary():
    start, end = numbers(-3, -1), numbers(-1, 1)
    same = [witness_share(column(), start, end, 0, score) for score in (LogOdds(), Margin())]
    assert torch.equal(*same)
    logs = start.neg().exp().log1p().neg()[:, 0], end.neg().exp().log1p().neg()[:, 0]
    expected = (logs[1] - logs[0]) / (np.log(0.5) - logs[0])
    torch.testing.assert_close(witness_share(column(), start, end, 0, LogProbability()), expected)
    custom = witness_share(column(), start, end, 0, lambda outputs: outputs[:, 0])
    assert torch.equal(custom, same[0])
    with pytest.raises(ValueError, match=r"no meaning for Logit\(\) with 2 output columns"):
        witness_share(column(), start, end, 0, Logit())


def test_a_batch_gives_what_its_images_give_alone():
    split, witness = mnist5k(), digit_witness()
    # an even digit and an odd one, a hundred of each class
    start, end, target = (
        each[k::200]
        for each, k in ((split.test_inputs, 20), (split.test_inputs, 120), (split.test_targets, 120))
    )
    together = witness_share(witness, start, end, target)
    alone = [witness_share(witness, *(each[k : k + 1] for each in (start, end, target))) for k in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), equal_nan=True, rtol=1e-4, atol=1e-4)
    assert together.dtype == torch.float64
    assert (together > 1).sum() >= 4, "the end is another image, of that class"


def test_names_class():
    ends = numbers(-1, 2, 3)
    assert names_class(column(), ends, 0).tolist() == [False, True, True]
    assert names_class(column(), ends, torch.tensor([1, 1, 0])).tolist() == [True, False, True]


# ---- the table ----------------------------------------------------------------------------------------------


def test_the_table_in_closed_form():
    start = numbers(-4, -4, -2, 3, -1)
    ends = {"still": start, "there": numbers(0, 4, 1, 9, 1)}
    table = witness_table(column(), column(2.0), start, ends, 0).set_index("path")
    assert list(table.index) == ["still", "there"]
    assert table["images"].tolist() == [4, 4]
    assert table["left out"].tolist() == [1, 1]
    still, there = table.loc["still"], table.loc["there"]
    assert still[["median", "median low", "median high", "mean", "named", "own way"]].eq(0).all()
    shares = [1, 2, 1.5, 2]  # of the four that stand below even odds
    assert there["median"] == there["own way"] == np.median(shares)
    assert there["mean"] == pytest.approx(np.mean(shares))
    assert there["median low"] <= there["median"] <= there["median high"]
    assert there["mean low"] < there["mean"] < there["mean high"]
    assert there["named"] == there["named by model"] == 1.0  # at even odds argmax takes the first
    assert still["named high"] == pytest.approx(proportion_interval([False] * 4).high)


def test_the_table_tells_the_witness_from_the_model():
    start, end = torch.tensor([[-2.0, -2.0]]), torch.tensor([[1.0, -2.0]])
    first, second = (lambda x, k=k: torch.stack([x[:, k], 0 * x[:, k]], dim=1) for k in (0, 1))
    found = witness_table(second, first, start, {"its own": end}, 0).iloc[0]
    assert (found["median"], found["named"]) == (0, 0)
    assert (found["own way"], found["named by model"]) == (1.5, 1)


def test_the_table_with_nothing_left_says_so():
    table = witness_table(column(), column(), numbers(1, 2), {"path": numbers(3, 4)}, 0)
    assert table.loc[0, ["images", "left out"]].tolist() == [0, 2]
    assert table.drop(columns=["path", "images", "left out"]).isna().all(axis=None)


def test_the_table_is_seeded():
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(20, 1, generator=generator) - shift for shift in (3, 1))
    tables = [
        witness_table(column(), column(), start, {"path": end}, 0, samples=50, seed=s) for s in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_what_does_not_fit_is_refused_in_words():
    start, end = numbers(-1, -2), numbers(1, 2)
    with pytest.raises(
        ValueError, match=r"end: expected an image for each of start, shape \(2, 1\); got \(1, 1\)"
    ):
        witness_share(column(), start, end[:1], 0)
    with pytest.raises(ValueError, match=r"end: expected finite values; got 1 NaN or infinite.*converged"):
        witness_share(column(), start, numbers(1, float("nan")), 0)
    with pytest.raises(ValueError, match=r"ends\['flow'\]: expected an image for each"):
        witness_table(column(), column(), start, {"flow": end[:1]}, 0)
    with pytest.raises(ValueError, match="ends: expected at least one path's ends"):
        witness_table(column(), column(), start, {}, 0)
    with pytest.raises(ValueError, match=r"target: expected class indices in \[0, 2\); got 5"):
        names_class(column(), end, 5)
    with pytest.raises(ValueError, match=r"K >= 2, a column a class; got \(2, 1\)"):
        names_class(lambda x: x, end, 0)
    with pytest.raises(ValueError, match="at least one example"):
        witness_share(column(), start[:0], end[:0], 0)


# ---- the bench ----------------------------------------------------------------------------------------------


def test_the_bench_in_small():
    from benchmarks.witness import walked

    table = walked(images=4, steps=4)
    assert len(table) == 9
    assert (table["images"] + table["left out"]).eq(4).all()
    # the committed table (make bench) has more images; this is the same comparison in small
    median = table.set_index("path")["median"]
    assert median["straight to the class's mean, VAE"] > median["flow, pixels"]
