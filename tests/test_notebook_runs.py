"""The notebooks of the walk with other parameters, quick ones (tests/cases.py), through papermill.

The committed parameters, in full, are nbval's (pyproject.toml, testpaths). The notebooks with a panel are run in a
browser, if there is one (tests/test_browser.py).
"""

import math

import browser
import pytest
from cases import CASES, PANELS, assert_recorded, with_photo
from test_notebooks import WALK, walk

from helpers.run.execute import run_notebook
from helpers.run.notebook_files import Notebook

CEILING = 1800  # seconds a cell: only a cell that hangs takes so long
HERE = [path for path in WALK if path.stem not in PANELS or not browser.find()]


def test_every_case_belongs_to_a_notebook():
    assert set(CASES) == {path.stem for path in WALK}
    assert set(PANELS) <= set(CASES)


@walk
def test_a_case_sets_other_parameters_and_asserts_numbers(path):
    case = CASES[path.stem]
    assert case.parameters
    assert case.numbers
    defaults = {name: parameter.default for name, parameter in Notebook.read(path).parameters.items()}
    unchanged = [name for name, value in case.parameters.items() if defaults.get(name, math.nan) == value]
    assert not unchanged, f"CASES[{path.stem!r}] sets {unchanged[0]} to its default"


@pytest.mark.parametrize("path", HERE, ids=[path.stem for path in HERE])
def test_other_parameters(path, tmp_path):
    parameters = with_photo(CASES[path.stem].parameters, tmp_path / "my photo.jpg")
    result = run_notebook(path, tmp_path / path.name, parameters, show_progress=False, timeout=CEILING)
    assert_recorded(path.stem, result.numbers)
