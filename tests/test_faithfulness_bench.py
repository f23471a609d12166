"""benchmarks.faithfulness: results that survive an interruption, and a summary with the right signs."""

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import faithfulness as bench
from benchmarks import specificity
from helpers.saliency import Constant


class Ink(nn.Module):
    """Logits: ink of the left half, and 0: the right half has no say."""

    def forward(self, images):
        left = images.chunk(2, dim=3)[0].flatten(1).sum(1)
        return torch.stack([left, torch.zeros_like(left)], 1)


class Half:
    """A map that names one half: the class's own, or the other."""

    def __init__(self, right):
        self.right, self.calls = right, 0

    def attribute(self, inputs, target):
        self.calls += 1
        side = (target if self.right else 1 - target).reshape(-1, 1, 1, 1)
        columns = torch.arange(inputs.shape[3]) // (inputs.shape[3] // 2)
        return (columns == side).expand(len(inputs), 1, *inputs.shape[2:]).to(inputs)


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CACHE", tmp_path / "cache")
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    images[..., :6] += 1.0
    methods = {specificity.OURS: Half(True), "wrong": Half(False)}
    return bench.Task(
        "toy",
        Ink(),
        images,
        torch.tensor([[0, 1]] * 3),
        square=2,
        width=0.0,
        blur=2.0,
        reference=Constant(0.0),
        methods=methods,
        contributions={"right": Half(True)},
    )


def test_a_map_that_names_the_wrong_half_is_worse_in_every_way(task):
    table = bench.summary(task, bench.measured(task))
    rows = table[(table["method"] == "wrong") & (table["score"] == "log-odds") & (table["rank"] == 0)]
    told = rows[rows["metric"].isin(bench.KINDS)]
    assert len(told) == 6
    assert (told["advantage_high"] < 0).all()
    assert table.loc[table["method"] == specificity.OURS, "advantage"].isna().all()


def test_infidelity_sensitivity_and_overlap_are_in_the_table(task):
    table = bench.summary(task, bench.measured(task)).set_index(["method", "metric", "fill"])
    of = "right" + bench.CONTRIBUTION
    assert table.loc[(of, "infidelity", "reference"), "value"].item() < 0.5
    assert table.loc[(of, "sensitivity", ""), "value"].item() == 0
    # the maps of two classes have nothing in common, those of moved images nearly all
    assert table.loc[(specificity.OURS, "class overlap", "neighbours"), "value"].item() < 0.2


def test_what_was_measured_is_not_measured_again(task):
    first = bench.measured(task)
    method = task.methods["wrong"]
    calls = method.calls
    pd.testing.assert_frame_equal(bench.measured(task), first)
    assert method.calls == calls
    next(bench.CACHE.glob("*.csv")).unlink()
    pd.testing.assert_frame_equal(bench.measured(task), first)
    assert not list(bench.CACHE.glob("*.part"))
