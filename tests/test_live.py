"""Panels whose picture follows their controls: state set from Python, as the browser would."""

import base64
import io
import json

import ipywidgets
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.files import FRAMES
from helpers.run.form import WIDGET_VIEW
from helpers.show.live import Canvas, Live, in_words, live
from helpers.show.style import png


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


def wedge(size: float, tilt: int = 0, name: str = "a") -> Figure:
    """A figure that says in its label what it was drawn with."""
    figure = Figure(figsize=(2, 1), label=f"{name}: {size} by {tilt}")
    figure.add_subplot(xlim=(0, 3), ylim=(0, 3)).plot([0, size], [0, tilt])
    return figure


@pytest.fixture
def kept() -> Live:
    """A panel with two controls whose pictures are drawn beforehand, and one without."""
    return live(
        wedge,
        beforehand={"tilt": [0, 1, 2], "size": [0.125, 2.5]},
        size=ipywidgets.FloatSlider(value=2.5, min=0, max=3, step=0.125, description="wide"),
        tilt=ipywidgets.IntSlider(value=1, max=3),
        name=ipywidgets.Dropdown(options=["a", "b"], value="b"),
    )


class TestBeforehand:
    def test_frames_hold_the_controls_and_every_combination_of_their_values(self, kept):
        frames = kept.frames()
        assert frames["controls"] == [
            {"name": "tilt", "label": "tilt", "texts": ["0", "1", "2"], "start": 1},
            {"name": "size", "label": "wide", "texts": ["0.125", "2.5"], "start": 1},
        ]
        said = [picture["alt"] for picture in frames["pictures"]]
        assert said == [f"b: {size} by {tilt}" for tilt in (0, 1, 2) for size in (0.125, 2.5)]
        for picture, (tilt, size) in zip(
            frames["pictures"], [(t, s) for t in (0, 1, 2) for s in (0.125, 2.5)], strict=True
        ):
            shown = pixels(base64.b64decode(picture["png"]), "RGB")
            drawn = pixels(png(wedge(size, tilt)), "RGB")
            assert shown.shape == drawn.shape
            assert np.abs(shown.astype(int) - drawn).mean() < 2
        assert len({picture["png"] for picture in frames["pictures"]}) == 6
        assert json.loads(json.dumps(frames)) == frames, "plain data"

    def test_a_picture_is_found_as_a_page_counts(self, kept):
        """docs/_static/panels.js: number = number * (how many values) + value, one control after the other."""
        controls, pictures = kept.frames().values()
        for tilt, size in [(t, s) for t in range(3) for s in range(2)]:
            number = 0
            for control, value in zip(controls, (tilt, size), strict=True):
                number = number * len(control["texts"]) + value
            assert pictures[number]["alt"] == f"b: {[0.125, 2.5][size]} by {tilt}"

    def test_the_panel_moves_as_any_other_and_its_frames_start_where_it_started(self, kept):
        before = kept.frames()
        kept.controls["size"].value = 1.0  # none of the values
        assert kept.picture.alt == "b: 1.0 by 1"
        assert kept.frames() == before
        kept.controls["name"].value = "a"
        assert kept.frames()["pictures"][0]["alt"] == "a: 0.125 by 0"

    def test_a_notebook_gets_the_frames_beside_the_view(self, kept, panel):
        bundle = kept._repr_mimebundle_()
        assert set(bundle) == {WIDGET_VIEW, FRAMES, "text/plain"}
        assert bundle[FRAMES] == kept.frames()
        assert bundle["text/plain"] == "A panel: open the notebook to move it."
        assert set(panel._repr_mimebundle_()) == {WIDGET_VIEW, "text/plain"}

    def test_drawing_frames_leaves_the_panel_and_pyplot_alone(self, kept):
        import matplotlib.pyplot as plt

        before = kept.picture.png, kept.status.value
        kept.frames()
        assert (kept.picture.png, kept.status.value) == before
        assert plt.get_fignums() == []

    def test_a_value_that_cannot_be_drawn_fails_aloud(self):
        panel = live(line, beforehand={"slope": [1, 9]}, slope=ipywidgets.IntSlider(value=1, max=10))
        with pytest.raises(ValueError, match="slope: expected at most 5; got 9"):
            panel.frames()

    @pytest.mark.parametrize(
        "beforehand",
        [{"slop": [1]}, {"slope": [0, 2]}, {"slope": []}, {"slope": [1], "name": ["b"]}],
        ids=["unknown", "without the start", "empty", "one of two"],
    )
    def test_names_and_values_that_the_controls_do_not_have_are_refused(self, beforehand):
        controls = {
            "slope": ipywidgets.IntSlider(value=1, max=4),
            "name": ipywidgets.Dropdown(options=["a", "b"]),
        }
        with pytest.raises(ValueError, match=r"beforehand: expected names of controls, \['slope', 'name'\]"):
            live(line, beforehand=beforehand, **controls)


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


def pixels(data: bytes, mode: str = "RGBA") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))
