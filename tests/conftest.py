"""What every test shares."""

import matplotlib
import pytest
from hypothesis import settings

# Not through MPLBACKEND: kernels that the notebook tests start would inherit it, and lose their figures.
matplotlib.use("Agg")

# The same examples on every run, whatever the machine's speed.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium, for one module at a time: its event loop is in the way of others (nbclient)."""
    import browser

    with browser.chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def _close_figures():
    """Figures that a test leaves open do not pile up."""
    yield
    if "matplotlib.pyplot" in __import__("sys").modules:
        import matplotlib.pyplot as plt

        plt.close("all")
