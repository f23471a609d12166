"""benchmarks.stability: a map that stays agrees with itself, one that does not, does not."""

import pandas as pd
import pytest
import torch

from benchmarks import stability as bench
from helpers.zoo.classifiers import load_classifier


class Lightness:
    """A map that stays where the picture goes; or one that never moves."""

    def __init__(self, moves):
        self.moves = moves

    def attribute(self, image, target):
        rows = torch.linspace(0, 1, image.shape[-1]).expand_as(image[:, 0])
        return image.sum(1, keepdim=True) if self.moves else (rows + rows.mT.square())[:, None]


@pytest.fixture
def images():
    large = torch.rand(1, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    return {side: torch.nn.functional.interpolate(large, side) for side in bench.SIZES}


def test_a_map_that_goes_with_the_picture_is_stable(images, monkeypatch):
    found = {"goes": Lightness(True), "stays": Lightness(False)}
    monkeypatch.setattr(bench, "methods", lambda model, image: found)
    table = bench.agreements(lambda x: x.mean((2, 3)), images).pivot(
        index="method", columns="change", values="spearman"
    )
    assert table.loc["goes"].drop("shifted by 8 px").min() > 0.99
    assert table.loc["stays", "mirrored"] < 0.9
    assert table.loc["stays", "160 and 320 px"] > 0.99
    page = bench.summary(bench.agreements(lambda x: x.mean((2, 3)), images).assign(photo=0))
    assert page["method"].tolist() == ["goes", "stays"]
    assert page.columns[1] == "between sizes"


def test_every_method_of_the_bench_has_a_row():
    model = load_classifier("random:squeezenet1_1").model
    images = {
        side: torch.rand(1, 3, pixels, pixels) for side, pixels in zip(bench.SIZES, (40, 64, 80), strict=True)
    }
    table = bench.agreements(model, images)
    assert table["method"].nunique() == len(bench.methods(model, images[224]))
    assert isinstance(table, pd.DataFrame)
    assert table["spearman"].between(-1, 1).all()
