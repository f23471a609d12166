"""What every test shares."""

import sys

import matplotlib
import pytest
from hypothesis import HealthCheck, settings
from nbval.plugin import IPyNbCell

# Not through MPLBACKEND: kernels that the notebook tests start would inherit it, and lose their figures.
matplotlib.use("Agg")

# Files of a minute or more, longest first: begun last, one of them would keep a core waiting.
SLOW = (
    "test_browser.py",
    "test_notebook_runs.py",
    "test_solutions.py",
    "08_photographs.ipynb",
    "11_your_model.ipynb",
    "07_digits_in_depth.ipynb",
    "05_the_class.ipynb",
    "04_digits.ipynb",
    "06_tabular.ipynb",
)

# The same examples on every run, whatever the machine's speed.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path.name, len(SLOW)))
    for item in items:
        if " at 0x" in item.nodeid:
            # it differs from process to process, and tests side by side need the same names
            raise pytest.UsageError(f"{item.nodeid}: a test's name holds an address; give its parameters ids")
        if isinstance(item, IPyNbCell):
            # nbval's five seconds between a cell's end and its output are short on a busy machine
            item.output_timeout = item.config.option.nbval_cell_timeout


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium, for one module at a time: its event loop is in the way of others (nbclient)."""
    import browser

    with browser.chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def _same_chance():
    """A test that draws weights or inputs without a seed of its own draws the same in every run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _close_figures():
    """Figures that a test leaves open do not pile up."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        import matplotlib.pyplot as plt

        plt.close("all")
