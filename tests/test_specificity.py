"""benchmarks.specificity: choice on one half, report on the other, scores that survive an interruption."""

import pandas as pd
import pytest
import torch

from benchmarks import specificity
from helpers.measure.grids import Grids, assemble


class ClassInk:
    """A perfect map for grids whose cells are filled with their class's number."""

    def __init__(self, wrong=0, fails_after=None):
        self.wrong, self.fails_after, self.calls = wrong, fails_after, 0

    def attribute(self, inputs, target):
        self.calls += 1
        if self.fails_after is not None and self.calls > self.fails_after:
            raise KeyboardInterrupt
        return (inputs == (target + self.wrong).reshape(-1, 1, 1, 1)).to(inputs.dtype)


def grids(count: int, seed: int) -> Grids:
    targets = torch.stack(
        [torch.randperm(9, generator=torch.manual_seed(seed + i))[:4] for i in range(count)]
    )
    images = targets[:, :, None, None, None].expand(-1, -1, 1, 4, 4).float()
    ranks = torch.arange(4).expand(count, -1)
    return Grids(assemble(images), targets, torch.arange(4 * count).reshape(-1, 4) + seed, ranks, ranks)


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setattr(specificity, "CACHE", tmp_path / "cache")
    contenders = {
        specificity.OURS: {"": ClassInk()},
        "peer": {"off": ClassInk(wrong=20), "right": ClassInk()},
    }
    return specificity.Task("toy", "numbers", None, grids(3, 0), grids(4, 100), 1, (0, 1), contenders)


def test_settings_and_width_are_chosen_on_the_choosing_half(task):
    choice = specificity.chosen(task)
    assert choice["peer"] == ("right", 0)
    scores = specificity.reported(task, choice)
    peer = scores[scores["method"] == "peer"]
    assert peer["grid"].nunique() == 4
    assert set(peer["settings"]) == {"right"}
    assert (peer.loc[peer["chosen"], "rank_auc"] == 1).all()
    assert not set(peer["member"]) & set(task.choosing.members.flatten().tolist())


def test_an_interrupted_run_goes_on_where_it_stopped(task):
    whole = specificity.scores_of(task, "reporting", "peer", "right", batch=2)
    (file,) = specificity.CACHE.glob("*.csv")
    file.unlink()
    calls = task.contenders["peer"]["right"].calls
    stopped = ClassInk(fails_after=calls // 2)
    task.contenders["peer"]["right"] = stopped
    with pytest.raises(KeyboardInterrupt):
        specificity.scores_of(task, "reporting", "peer", "right", batch=2)
    resumed = ClassInk()
    task.contenders["peer"]["right"] = resumed
    again = specificity.scores_of(task, "reporting", "peer", "right", batch=2)
    assert resumed.calls == calls - calls // 2
    pd.testing.assert_frame_equal(again, whole, check_dtype=False)
    assert not list(specificity.CACHE.glob("*.part"))


def test_headline_has_a_line_a_method_and_only_the_chosen_width():
    def row(method, part, auc, chosen=True):
        return {
            "task": "toy", "method": method, "part": part, "rank_auc": auc, "rank_auc_low": auc - 0.1,
            "rank_auc_high": auc + 0.1, "chosen": chosen, "work": 3.0,
        }  # fmt: skip

    parts = ("best-ranked class", "other classes", "all classes")
    table = pd.DataFrame(
        [row("low", part, 0.5) for part in parts]
        + [row("high", part, 0.8) for part in parts]
        + [row("high", part, 0.9, chosen=False) for part in parts]
    )
    lines = specificity.headline(table)
    assert lines[0] == "| method | toy, best-ranked class | toy, other classes | work |"
    assert lines[2] == "| high | 0.800 (0.700 to 0.900) | 0.800 (0.700 to 0.900) | 3 |"
    assert lines[3].startswith("| low | 0.500")
    assert len(lines) == 4
