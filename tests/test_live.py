"""Panels whose picture follows their controls: state set from Python, as the browser would."""

import io

import ipywidgets
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.show.live import Canvas, Live, in_words, live


def line(slope: float, name: str = "a") -> Figure:
    """A line; refuses what the tests need refused."""
    if slope > 5:
        raise ValueError(f"slope: expected at most 5; got {slope} <b>.")
    if slope == 5:
        raise RuntimeError("first line\nout of chalk")
    figure = Figure(figsize=(2, 2), label=f"a line called {name}")
    figure.add_subplot().plot([0, 1], [0, slope])
    return figure


@pytest.fixture
def panel() -> Live:
    return live(
        line,
        slope=ipywidgets.FloatSlider(value=1, min=0, max=10),
        name=ipywidgets.Dropdown(options=["a", "b"]),
    )


class TestLive:
    def test_is_drawn_at_once_and_holds_everything(self, panel):
        assert isinstance(panel, ipywidgets.VBox)
        assert list(panel.controls) == ["slope", "name"]
        assert panel.children == (*panel.controls.values(), panel.status, panel.picture)
        assert Image.open(io.BytesIO(panel.picture.png)).size == (200, 200)
        assert panel.error is None
        assert 'data-state="ready"' in panel.status.value
        assert panel.picture.alt == "a line called a"

    def test_picture_follows_the_controls_there_and_back(self, panel):
        first = panel.picture.png
        panel.controls["slope"].value = 2
        second = panel.picture.png
        assert not np.array_equal(pixels(first), pixels(second))
        panel.controls["slope"].value = 1
        assert panel.picture.png == first
        panel.controls["name"].value = "b"
        assert panel.picture.alt == "a line called b"

    def test_sliders_act_on_release(self, panel):
        assert panel.controls["slope"].continuous_update is False

    def test_expected_error_is_its_message_and_the_next_good_value_clears_it(self, panel):
        before = panel.picture.png
        panel.controls["slope"].value = 7
        assert isinstance(panel.error, ValueError)
        assert "slope: expected at most 5; got 7.0 &lt;b&gt;." in panel.status.value
        assert "ValueError" not in panel.status.value
        assert 'data-state="error"' in panel.status.value
        assert panel.picture.png == before
        panel.controls["slope"].value = 2
        assert panel.error is None
        assert 'data-state="ready"' in panel.status.value
        assert panel.picture.png != before

    def test_unexpected_error_tells_its_type_last_line_and_place(self, panel):
        panel.controls["slope"].value = 5
        assert isinstance(panel.error, RuntimeError)
        assert "RuntimeError: out of chalk (test_live.py, line " in panel.status.value
        assert "first line" not in panel.status.value

    def test_an_error_in_the_first_drawing_leaves_controls_that_work(self):
        panel = live(line, slope=ipywidgets.IntSlider(value=9, max=10))
        assert isinstance(panel.error, ValueError)
        assert panel.picture.layout.display == "none"
        assert "The picture is still" not in panel.status.value
        panel.controls["slope"].value = 3
        assert panel.error is None
        assert panel.picture.layout.display is None

    def test_busy_is_said_before_the_drawing(self):
        seen = []

        def slow(x: int) -> Figure:
            seen.append(panel.status.value if x else "")
            return line(x)

        panel = live(slow, x=ipywidgets.IntSlider(value=0, max=3))
        states = []
        panel.status.observe(lambda change: states.append(change.new), names="value")
        panel.controls["x"].value = 2
        assert 'data-state="busy"' in seen[-1]
        assert [state.split('data-state="')[1].split('"')[0] for state in states] == ["busy", "ready"]

    def test_interrupted_kernel_does_not_leave_busy(self):
        def interrupted(x: int) -> Figure:
            if x:
                raise KeyboardInterrupt
            return line(x)

        panel = live(interrupted, x=ipywidgets.IntSlider(value=0, max=3))
        panel.controls["x"].value = 1
        assert isinstance(panel.error, KeyboardInterrupt)
        assert "interrupted" in panel.status.value

    def test_what_is_no_figure_is_told(self):
        panel = live(lambda x: x, x=ipywidgets.IntSlider(value=3))
        assert "expected it to return a matplotlib Figure; got 3." in panel.status.value

    def test_update_draws_again(self, panel):
        panel.picture.put(b"", "")
        panel.update()
        assert panel.picture.png

    def test_figures_of_pyplot_do_not_pile_up(self):
        import matplotlib.pyplot as plt

        def draw(x: int) -> Figure:
            return plt.figure(figsize=(1, 1))

        panel = live(draw, x=ipywidgets.IntSlider(value=0, max=3))
        panel.controls["x"].value = 1
        assert panel.error is None
        assert plt.get_fignums() == []

    @pytest.mark.parametrize("name", ["raises", "returns another", "cannot be drawn"])
    def test_figures_that_a_drawing_opens_are_closed_whatever_becomes_of_it(self, name):
        import matplotlib.pyplot as plt

        def draw(x: int) -> Figure:
            figure = plt.figure(figsize=(1, 1))
            if name == "raises":
                raise RuntimeError("out of chalk")
            if name == "cannot be drawn":
                figure.suptitle("$$")
                return figure
            return line(1)

        own = plt.figure()
        panel = live(draw, x=ipywidgets.IntSlider(value=0, max=3))
        panel.controls["x"].value = 1
        assert (panel.error is None) == (name == "returns another")
        assert plt.get_fignums() == [own.number], "the caller's own stays open"

    def test_style_of_the_caller_is_left_alone(self, panel):
        before = dict(matplotlib.rcParams)
        panel.update()
        assert dict(matplotlib.rcParams) == before

    def test_wrong_arguments_are_refused(self):
        with pytest.raises(TypeError, match="draw: expected a function"):
            live("line")
        with pytest.raises(TypeError, match=r"slope: expected a widget with a value.*got 3"):
            live(line, slope=3)
        with pytest.raises(TypeError, match="slope: expected a widget with a value"):
            live(line, slope=ipywidgets.VBox())


class TestCanvas:
    def test_tells_whether_it_went_well(self):
        canvas = Canvas()
        assert canvas.status.value == ""
        assert canvas.show(line, slope=1)
        assert not canvas.show(line, slope=7)
        assert "The picture is still the one before." in canvas.status.value


class TestInWords:
    def test_without_message_or_place(self):
        assert in_words(ValueError()) == "ValueError"
        assert in_words(KeyError("x")) == "KeyError: 'x'"


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
