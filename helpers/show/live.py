"""Controls beside a picture, in a notebook: `live` redraws when a control changes, and never fails silently.

An exception in a widget's callback reaches no cell: Jupyter writes it to a log that is hardly ever read, and the
picture stays as it was. Here the status line below the controls always says what happened: it computes, the
picture is new, or why there is none.
"""

import base64
import html
import io
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import ipywidgets
from matplotlib.figure import Figure
from PIL import Image

from helpers.files import FRAMES
from helpers.show.style import as_png, few_colours, png

# What arguments that do not fit raise: their messages are written to be read, and need no type or place.
EXPECTED = (ValueError, TypeError)


class Picture(ipywidgets.HTML):
    """A PNG with a text for those who cannot see it.

    Not `ipywidgets.Image`: that has no such text, and its view fails where a tooltip is set before it
    is shown (ipywidgets 8.1.9; tests/test_browser.py would see it).

    Attributes:
        png: the picture's bytes; empty before the first.
        alt: what it shows, in words.

    Example:
        >>> picture = Picture()
        >>> picture.put(b"...", "a cat & a mat")
        >>> picture.value
        '<img alt="a cat &amp; a mat" src="data:image/png;base64,Li4u" style="max-width: 100%">'
    """

    def __init__(self):
        super().__init__(layout={"display": "none"})
        self.png, self.alt = b"", ""

    def put(self, png: bytes, alt: str) -> None:
        """Show another picture."""
        self.png, self.alt = png, alt
        source = base64.b64encode(png).decode()
        self.value = (
            f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{source}" style="max-width: 100%">'
        )
        self.layout.display = None


class Canvas(ipywidgets.VBox):
    """A status line and a picture, drawn by a function that may take long or fail.

    Attributes:
        status: HTML; empty, busy, how long the picture took, or what went wrong.
        picture: `Picture`; after an error still the last good one.
        error: the exception of the last drawing, or None.

    Example:
        >>> canvas = Canvas()
        >>> canvas.show(lambda: None), canvas.error
        (False, TypeError('draw: expected it to return a matplotlib Figure; got None.'))
    """

    def __init__(self):
        self.status = ipywidgets.HTML()
        self.picture = Picture()
        self.error: BaseException | None = None
        super().__init__([self.status, self.picture])

    def show(self, draw: Callable[..., Figure], **arguments) -> bool:
        """Draw and show; whether that went well. No exception leaves this method.

        Args:
            draw: returns a Figure; the figure's label, if it has one, becomes the picture's description.
            arguments: what draw is called with.
        """
        self.say("busy", "Computing …")
        started = time.perf_counter()
        # KeyboardInterrupt is no Exception; after it, too, the line must not go on saying "busy".
        try:
            with _closing_figures():
                figure = draw(**arguments)
                if not isinstance(figure, Figure):
                    raise TypeError(f"draw: expected it to return a matplotlib Figure; got {figure!r}.")
                described = figure.get_label()
                value = png(figure, described)
                if "matplotlib.pyplot" in sys.modules:
                    sys.modules["matplotlib.pyplot"].close(figure)
        except (Exception, KeyboardInterrupt) as error:
            self.fail(error)
            return False
        self.error = None
        self.picture.put(value, described)
        self.say("ready", f"Drawn in {time.perf_counter() - started:.1f} s.")
        return True

    @property
    def kept(self) -> str:
        """A sentence that follows why there is no new picture: an earlier one is still shown; or ""."""
        return " The picture is still the one before." if self.picture.png else ""

    def fail(self, error: BaseException) -> None:
        """Say an error in words, and keep it."""
        self.error = error
        self.say("error", in_words(error) + self.kept)

    def say(self, state: str, text: str) -> None:
        """Write the status line.

        Args:
            state: "busy", "waiting" (for the user), "ready" or "error"; in the page it is the attribute
                data-state of the line.
            text: plain text.
        """
        look = {
            "busy": "color: #8a5a00",
            "waiting": "color: #8a5a00; font-weight: bold",
            "ready": "color: #555",
            "error": "color: #b00020; font-weight: bold",
        }[state]
        self.status.value = (
            f'<span role="status" data-state="{state}" style="{look}; white-space: normal">'
            f"{html.escape(text)}</span>"
        )


class Live(Canvas):
    """Controls, a status line and a picture that follows the controls; see `live`.

    Attributes:
        controls: the widgets by name of argument.
        status, picture, error: as in `Canvas`.

    Example:
        >>> panel = Live(lambda size: Figure(figsize=(size, 1)), size=ipywidgets.IntSlider(2, min=1, max=3))
        >>> panel.values
        {'size': 2}
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        beforehand: Mapping[str, Sequence] | None = None,
        **controls: ipywidgets.Widget,
    ):
        if not callable(draw):
            raise TypeError(f"draw: expected a function that returns a matplotlib Figure; got {draw!r}.")
        for name, control in controls.items():
            if not isinstance(control, ipywidgets.Widget) or not control.has_trait("value"):
                raise TypeError(
                    f"{name}: expected a widget with a value, such as ipywidgets.IntSlider(); got {control!r}."
                )
        for name, values in (beforehand or {}).items():
            if name not in controls or controls[name].value not in values:
                raise ValueError(
                    f"beforehand: expected names of controls, {list(controls)}, and for each its values, the one "
                    f"at the start among them; got {name!r}: {list(values)!r}."
                )
        super().__init__()
        self.draw = draw
        self.beforehand = {name: list(values) for name, values in (beforehand or {}).items()}
        self._start = {name: controls[name].value for name in self.beforehand}
        self.controls = controls
        self.children = (*controls.values(), *self.children)
        for control in controls.values():
            # Otherwise every pixel of a drag is a drawing of its own, and the picture lags behind the hand.
            if control.has_trait("continuous_update"):
                control.continuous_update = False
            control.observe(self._changed, names="value")
        self.update()

    @property
    def values(self) -> dict:
        """The controls' values by name of argument."""
        return {name: control.value for name, control in self.controls.items()}

    def update(self) -> None:
        """Draw the picture of the controls as they are."""
        self.show(self.draw, **self.values)

    def frames(self) -> dict:
        """What a page without a kernel needs: the controls, and the picture of every combination of values.

        Returns:
            Plain data: "controls" is a list of name, label, texts (one a value) and start (the place of the value
            that the control had when the panel was made); "pictures" a list of png (base64) and alt, the last
            control's values changing fastest.
        """
        named = [(name, self.controls[name], values) for name, values in self.beforehand.items()]
        controls = [
            {
                "name": name,
                "label": control.description or name,
                "texts": [f"{v:.3g}" if isinstance(v, float) else str(v) for v in values],
                "start": values.index(self._start[name]),
            }
            for name, control, values in named
        ]
        pictures = []
        for combination in product(*self.beforehand.values()):
            with _closing_figures():
                figure = self.draw(**(self.values | dict(zip(self.beforehand, combination, strict=True))))
            sheet = few_colours([Image.open(io.BytesIO(png(figure))).convert("RGB")], 48)
            drawn = base64.b64encode(as_png(sheet)).decode()
            pictures.append({"png": drawn, "alt": figure.get_label()})
        return {"controls": controls, "pictures": pictures}

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if not self.beforehand or not isinstance(bundle, dict):
            return bundle
        return bundle | {"text/plain": "A panel: open the notebook to move it.", FRAMES: self.frames()}

    def _changed(self, change) -> None:
        self.update()


def live(
    draw: Callable[..., Figure],
    beforehand: Mapping[str, Sequence] | None = None,
    **controls: ipywidgets.Widget,
) -> Live:
    """A panel whose picture follows its controls; the picture is drawn at once.

    Sliders act when they are released. What `draw` raises is said in words in the panel; the controls go on
    working, and the next value that is fine clears it.

    Args:
        draw: takes the controls' values as keyword arguments, returns a matplotlib Figure.
        beforehand: control -> values; the pictures of all their combinations, the other controls as they are,
            are drawn when the panel is shown in a notebook, and kept in it: a page without a kernel can show
            them. None: there the panel is left out.
        controls: widgets with a value, by name of argument.

    Returns:
        A VBox with the attributes `controls`, `picture`, `status`, `error` and `update()`.

    Raises:
        TypeError: draw is not callable, or a control has no value.
        ValueError: beforehand has a name that no control has, no values for it, or not the value at the start.

    Example:
        >>> panel = live(lambda size: Figure(figsize=(size, 1)), size=ipywidgets.IntSlider(2, min=1, max=3))
        >>> before = panel.picture.png
        >>> panel.controls["size"].value = 3
        >>> panel.picture.png != before
        True
    """
    return Live(draw, beforehand, **controls)


def in_words(error: BaseException) -> str:
    """What happened, in one line: the message; for an error that is not an argument's also its type and place.

    Example:
        >>> in_words(ValueError("steps: expected at least 1; got 0.")), in_words(KeyError("x"))
        ('steps: expected at least 1; got 0.', "KeyError: 'x'")
    """
    message = str(error).strip()
    if isinstance(error, KeyboardInterrupt):
        return "Stopped: the kernel was interrupted."
    if isinstance(error, EXPECTED) and message:
        return message
    last = f": {message.splitlines()[-1]}" if message else ""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{last}{place}"


@contextmanager
def _closing_figures() -> Iterator[None]:
    """The figures that are opened with pyplot in here are closed in the end; those that were open stay so."""

    def opened() -> set[int]:
        pyplot = sys.modules.get("matplotlib.pyplot")
        return set(pyplot.get_fignums()) if pyplot else set()

    before = opened()
    try:
        yield
    finally:
        for number in opened() - before:
            sys.modules["matplotlib.pyplot"].close(number)
