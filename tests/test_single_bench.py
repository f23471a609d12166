"""benchmarks.single: the measure's sign, results that survive an interruption, ours paired with every method."""

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import single as bench
from benchmarks.methods import from_same_passes, twin_at_blocks
from helpers.measure import faithfulness
from helpers.saliency import presets
from helpers.zoo.classifiers import load_classifier


class Left(nn.Module):
    """Logits: by how much the left half is lighter than the image, and 0."""

    def forward(self, images):
        lighter = 50 * (images[..., : images.shape[3] // 2].mean((1, 2, 3)) - images.mean((1, 2, 3)))
        return torch.stack([lighter, torch.zeros_like(lighter)], 1)


class Stripe:
    """Maps that name the light stripe in the left half, or everything else."""

    def __init__(self, left):
        self.left, self.calls = left, 0

    def __call__(self, image, classes):
        self.calls += len(classes)
        columns = torch.arange(image.shape[3]) / image.shape[3]
        lit = (columns >= 1 / 8) & (columns < 3 / 8)
        return (lit == self.left).expand(len(classes), *image.shape[2:]).to(image)


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
    return {bench.SUPPORTS: Stripe(True), "wrong": Stripe(False)}


def test_a_map_that_names_what_counts_is_more_faithful(image, toys):
    right, wrong = (Stripe(left)(image, [0]) for left in (True, False))
    assert bench.faithfulness(Left(), image, 0, right) > bench.faithfulness(Left(), image, 0, wrong)


class Stroke(nn.Module):
    """Logits of a digit: the ink in its left half, and 0."""

    def forward(self, images):
        ink = images[..., : images.shape[3] // 2].mean((1, 2, 3))
        return torch.stack([20 * ink, torch.zeros_like(ink)], 1)


def test_a_digit_is_looked_at_in_finer_squares_and_on_an_empty_ground(monkeypatch):
    digit = torch.zeros(1, 1, 28, 28)
    digit[..., 4:8] = 1.0
    seen = []
    monkeypatch.setattr(
        faithfulness,
        "perturbation_curve",
        lambda model, image, target, saliency, fill, kind, square, *rest: (
            seen.append((square, fill(image))) or torch.zeros(1, 1, 2)
        ),
    )
    bench.faithfulness(Stroke(), digit, 0, digit[0])
    assert {square for square, _ in seen} == {bench.DIGIT_SQUARE}
    assert sum(not fill.any() for _, fill in seen) == 2, "insertion and deletion on an empty ground"
    monkeypatch.undo()
    right, wrong = (bench.faithfulness(Stroke(), digit, 0, plane) for plane in (digit[0], 1 - digit[0]))
    assert right > wrong


def test_an_interrupted_run_goes_on_where_it_stopped(image, toys):
    whole = bench.scores_of("toy", Left(), image, toys, show_progress=False)
    assert whole.groupby("method", sort=False)["class"].apply(list).to_dict() == {
        name: ["first", "second"] for name in toys
    }
    (file,) = bench.CACHE.glob("toy-*.csv")
    pd.read_csv(file).iloc[:2].to_csv(file, index=False)
    for method in toys.values():
        method.calls = 0
    again = bench.scores_of("toy", Left(), image, toys, show_progress=False)
    assert (toys[bench.SUPPORTS].calls, toys["wrong"].calls) == (0, 2)
    pd.testing.assert_frame_equal(whole, again, check_dtype=False)
    # what is not asked for stays in the cache and out of the table
    assert bench.scores_of("toy", Left(), image, {"wrong": toys["wrong"]})["method"].unique() == ["wrong"]


def test_ours_is_paired_with_every_method_by_photograph():
    rows = [
        ("net", "first", photo, name, value + shift)
        for photo, value in enumerate(torch.rand(9).tolist())
        for name, shift in ((bench.SUPPORTS, 0.2), ("peer", 0.1), (bench.CENTRE, 0.25), ("dear", 0.0))
        if name != "dear" or photo < 4
    ]
    scores = pd.DataFrame(rows, columns=["network", "class", "photo", "method", "value"])
    costs = {"net": pd.DataFrame({"passes": 1.0}, index=scores["method"].unique())}
    table = bench.summary(scores, costs).set_index("method")
    assert table.loc["peer", "difference"] == pytest.approx(0.1)
    words = {bench.SUPPORTS: "", "peer": "better", bench.CENTRE: "worse", "dear": "too few"}
    assert table["verdict"].fillna("").to_dict() == words
    assert table.loc["dear", "photos"] == 4
    page = bench.page(bench.summary(scores, costs))
    assert page["method"].tolist() == [*list(words)[:3], "dear (4 photographs)"]
    assert page["net, first"][1].endswith("(better)")


def test_the_twin_at_the_blocks_is_ours_where_nothing_bends():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2, padding=1)
    torch.nn.init.normal_(layers[0].weight, generator=torch.Generator().manual_seed(0))
    affine = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ours = presets.supports(affine, layers=layers)
    twin = twin_at_blocks(ours)(image, [2, 4])
    assert torch.allclose(twin, from_same_passes(ours)(image, [2, 4]), atol=1e-6)
    bent = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    ours = presets.supports(bent, layers=layers)
    assert not torch.allclose(twin_at_blocks(ours)(image, [2]), from_same_passes(ours)(image, [2]), atol=1e-3)


def test_every_method_of_the_bench_has_maps_of_both_classes(image):
    model = load_classifier("random:squeezenet1_1").model
    image = torch.nn.functional.interpolate(image, 64)
    for name, maps in bench.methods(model, image).items():
        found = maps(image, [3, 5])
        assert found.shape == (2, 64, 64), name
        assert found.isfinite().all(), name
        assert not found.requires_grad, name


def test_costs_are_counted(image, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CACHE", tmp_path)
    model = load_classifier("random:squeezenet1_1").model
    image = torch.nn.functional.interpolate(image, 64)
    of = {
        n: m
        for n, m in bench.methods(model, image).items()
        if n in (bench.SUPPORTS, "Grad-CAM", bench.CENTRE)
    }
    costs = bench.passes_of("toy", model, image, of)
    assert not len(bench.passes_of("toy", model, image, {}))
    assert costs["gradients"].to_dict() == {bench.SUPPORTS: 27, "Grad-CAM": 1, bench.CENTRE: 0}
    assert costs.loc[bench.CENTRE, "passes"] == 0
    assert 1 <= costs.loc["Grad-CAM", "passes"] < 2 < 27 < costs.loc[bench.SUPPORTS, "passes"]
