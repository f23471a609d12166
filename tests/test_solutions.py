"""The solutions of the exercises run, with quick sizes (for their form: tests/test_notebooks.py).

In this process: a kernel for each would import the same again. Their committed outputs are a kernel's.
"""

import sys
import types

import matplotlib.pyplot as plt
import pytest
from test_notebooks import SOLUTIONS, read

# what stands in a solution -> what a test runs in its place, where the sizes cost a quarter of a minute or more
QUICK: dict[str, dict[str, str]] = {
    "04_digits": {
        "images[classes == 1][:50]": "images[classes == 1][:16]",
    },
    "07_digits_in_depth": {
        "torch.arange(12) * len(images) // 12": "torch.arange(4) * len(images) // 4",
        "for seed in range(1, 9)": "for seed in range(1, 3)",
        "torch.arange(20) * len(images) // 20": "torch.arange(6) * len(images) // 6",
        "for width in (0.0, 2.0, 4.0)": "for width in (0.0, 4.0)",
    },
    "08_photographs": {
        "chosen = [4, 9, 14, 16]": "chosen = [9, 16]",
        "scored(128, Blurred())": "scored(64, Blurred())",
        "scored(128, Blurred(3 / 56 * 2 * 128 / 4)), scored(128, Constant(0.5))": (
            "scored(64, Blurred(3 / 56 * 2 * 64 / 4)), scored(64, Constant(0.5))"
        ),
        "preset=True, side=128": "preset=True, side=64",
    },
    "10_playground": {'Choice(data="photo", preset=True)': 'Choice(data="photo", preset=True, side=96)'},
    "11_your_model": {
        "bring(side=160), image_set(limit=4)": "bring(side=96), image_set(limit=2)",
        "range(0, 1000, 25)": "range(0, 1000, 50)",
    },
}


@pytest.mark.parametrize("path", SOLUTIONS, ids=[path.stem for path in SOLUTIONS])
def test_solutions_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    for slow, quick in QUICK.get(path.stem, {}).items():
        assert any(slow in source for source in sources), (
            f"QUICK[{path.stem!r}]: there is no {slow!r} any more"
        )
        sources = [source.replace(slow, quick) for source in sources]
    room = types.ModuleType(f"solution_{path.stem}")
    monkeypatch.setitem(sys.modules, room.__name__, room)  # where its dataclasses look for themselves
    for number, source in enumerate(sources):
        exec(compile(source, f"{path.name}, code cell {number + 1}", "exec"), vars(room))
    assert not plt.get_fignums(), "a figure is left open: show(figure, alt) closes it"


def test_the_quick_sizes_belong_to_solutions():
    assert set(QUICK) <= {path.stem for path in SOLUTIONS}
