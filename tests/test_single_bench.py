"""benchmarks.single: the measure's sign, results that survive an interruption, the rule of the verdicts."""

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import single as bench
from helpers.zoo.classifiers import load_classifier


class Left(nn.Module):
    """Logits: by how much the left half is lighter than the image, and 0."""

    def forward(self, images):
        lighter = 50 * (images[..., : images.shape[3] // 2].mean((1, 2, 3)) - images.mean((1, 2, 3)))
        return torch.stack([lighter, torch.zeros_like(lighter)], 1)


class Stripe:
    """A map that names the light stripe in the left half, or everything else."""

    def __init__(self, left):
        self.left, self.calls = left, 0

    def attribute(self, inputs, target):
        self.calls += 1
        columns = torch.arange(inputs.shape[3]) / inputs.shape[3]
        lit = (columns >= 1 / 8) & (columns < 3 / 8)
        return (lit == self.left).expand(len(inputs), 1, *inputs.shape[2:]).to(inputs)


@pytest.fixture
def image():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.01
    image[..., 4:12] += 0.2
    return image


@pytest.fixture
def toys(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CACHE", tmp_path / "single")
    monkeypatch.setattr(bench, "STEPS", 4)
    monkeypatch.setattr(bench, "SQUARE", 4)
    found = {bench.OURS: Stripe(True), "wrong": Stripe(False)}
    monkeypatch.setattr(bench, "methods", lambda model, image: found)
    return found


def test_a_map_that_names_what_counts_is_more_faithful(image, toys):
    right, wrong = (Stripe(left).attribute(image, 0)[:, 0] for left in (True, False))
    assert bench.faithfulness(Left(), image, 0, right) > bench.faithfulness(Left(), image, 0, wrong)


def test_an_interrupted_run_goes_on_where_it_stopped(image, toys):
    whole = bench.scores_of("toy", Left(), image, show_progress=False)
    assert whole.groupby("method", sort=False)["class"].apply(list).to_dict() == {
        name: ["first", "second"] for name in (*toys, bench.CENTRE)
    }
    (file,) = bench.CACHE.glob("toy-*.csv")
    pd.read_csv(file).iloc[:2].to_csv(file, index=False)
    for method in toys.values():
        method.calls = 0
    again = bench.scores_of("toy", Left(), image, show_progress=False)
    assert (toys[bench.OURS].calls, toys["wrong"].calls) == (0, 2)
    pd.testing.assert_frame_equal(whole, again, check_dtype=False)


@pytest.mark.parametrize(
    ("low", "high", "photos", "words"),
    [
        (0.01, 0.1, 8, "better"),
        (-0.009, 0.1, 8, "no worse"),
        (-0.02, 0.1, 8, "not shown"),
        (-0.1, -0.01, 8, "worse"),
        (0.01, 0.1, 7, "too few"),
    ],
)
def test_the_rule_of_the_verdicts(low, high, photos, words):
    assert bench.verdict(low, high, photos) == words


def test_ours_is_paired_with_every_method_by_photograph():
    rows = [
        ("net", "first", photo, name, value + shift)
        for photo, value in enumerate(torch.rand(9).tolist())
        for name, shift in ((bench.OURS, 0.2), ("peer", 0.1), (bench.CENTRE, 0.25))
    ]
    scores = pd.DataFrame(rows, columns=["network", "class", "photo", "method", "value"])
    passes = {("net", name): 1.0 for name in scores["method"]}
    table = bench.summary(scores, passes).set_index("method")
    assert table.loc["peer", "ours more by"] == pytest.approx(0.1)
    assert table["verdict"].fillna("").to_dict() == {bench.OURS: "", "peer": "better", bench.CENTRE: "worse"}
    page = bench.page(bench.summary(scores, passes))
    assert page["method"].tolist() == [bench.OURS, "peer", bench.CENTRE]
    assert page["net, first"][1].endswith("(better)")


def test_every_method_of_the_bench_has_a_map_of_the_image(image):
    model = load_classifier("random:squeezenet1_1").model
    image = torch.nn.functional.interpolate(image, 64)
    for name, method in bench.methods(model, image).items():
        found = bench.fitted(method.attribute(image, 3), image)
        assert found.shape == (1, 1, 64, 64), name
        assert found.isfinite().all(), name
