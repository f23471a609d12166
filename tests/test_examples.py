"""The examples in the how-to pages and in README run, and print what they say they print."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import saliency

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
USE = [ROOT / "docs" / "photograph.md"]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are marked with this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", PAGES + USE, ids=lambda page: page.stem)
def test_the_example_of_a_how_to_page_prints_what_the_page_says(page):
    (code,), (wanted,) = blocks(page, "python"), blocks(page, "text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, page.name, "exec"), {"__name__": page.stem})
    assert printed.getvalue() == wanted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_how_to_page_names_files_that_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:docs|helpers|tests|notebooks|benchmarks)/[\w./]+)`", text)
    assert "tests/combinations.py" in named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_example_of_the_readme_runs():
    (code,) = blocks(ROOT / "README.md", "python")
    torch.manual_seed(0)
    fine, coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    model = nn.Sequential(fine, nn.ReLU(), coarse, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    names = {"model": model, "images": torch.rand(2, 3, 8, 8), "classes": torch.tensor([0, 1])}
    exec(compile(code, "README.md", "exec"), names)
    assert names["supports"].shape == names["contrasts"].shape == (2, 1, 8, 8)
    assert isinstance(names["record"], saliency.Explanation)
    assert names["record"].contribution.shape == (2, 3, 8, 8)
