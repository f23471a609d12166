"""The solutions of the exercises run; their form is tested with that of the walk (tests/test_notebooks.py)."""

import pytest
from test_notebooks import SOLUTIONS

from helpers.run.execute import run_notebook


@pytest.mark.parametrize("path", SOLUTIONS, ids=[path.stem for path in SOLUTIONS])
def test_solutions_run(path, tmp_path):
    # the ceiling, in seconds a cell, is for one that hangs
    run_notebook(path, tmp_path / path.name, show_progress=False, timeout=1800)
