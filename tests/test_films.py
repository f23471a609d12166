"""What moves: every figure is shown, the last is held, and what is no film is refused."""

import base64

import numpy as np
import pytest
from figures import moving_frames, opened
from matplotlib.figure import Figure

from helpers.show import style
from helpers.show.films import show_film
from helpers.show.style import png


def bars_growing(count=4, size=(2, 1.5)):
    """Figures in which a bar grows."""
    for height in range(1, count + 1):
        figure = Figure(figsize=size)
        figure.add_subplot(ylim=(0, count)).bar([0], [height])
        yield figure


def test_a_film_shows_every_figure_and_holds_the_last(monkeypatch):
    sent = []
    monkeypatch.setattr(style, "display", lambda data, **options: sent.append((data, options)))
    show_film(bars_growing(), "a bar grows", seconds=0.25, hold=1.5, colours=16)
    ((bundle, options),) = sent
    assert set(bundle) == {"image/png", "text/plain"}
    assert bundle["text/plain"] == "a bar grows"
    assert options["metadata"] == {"image/png": {"alt": "a bar grows"}}
    data = base64.b64decode(bundle["image/png"])
    assert opened(data).text["Description"] == "a bar grows"
    assert opened(data).n_frames == 4
    assert opened(data).size == (200, 150)
    assert len(data) < 20_000
    shown = moving_frames(data)
    assert [time for _, time in shown] == [250, 250, 250, 1500]
    assert len(np.unique(np.concatenate([np.asarray(f).reshape(-1, 3) for f, _ in shown]), axis=0)) <= 16
    # as drawn, but for the colours of edges
    for (frame, _), figure in zip(shown, bars_growing(), strict=True):
        drawn = np.asarray(opened(png(figure)).convert("RGB")).astype(int)
        assert np.abs(np.asarray(frame).astype(int) - drawn).mean() < 2


@pytest.mark.parametrize(
    ("figures", "options", "message"),
    [
        ([], {}, r"figures: expected at least two, of one size; got 0"),
        (list(bars_growing(1)), {}, r"figures: expected at least two, of one size; got 1"),
        (
            [*bars_growing(2), *bars_growing(1, (3, 3))],
            {},
            r"figures: .* got 3, of \[\(200, 150\), \(300, 300\)\]",
        ),
        (list(bars_growing(2)), {"seconds": 0}, "seconds: expected a finite number above 0; got 0"),
        (list(bars_growing(2)), {"hold": -1.0}, "hold: expected a finite number above 0; got -1.0"),
        (list(bars_growing(2)), {"colours": 300}, "colours: expected an integer from 2 to 256; got 300"),
        (list(bars_growing(2)), {"alt": " "}, "alt: expected a description"),
    ],
    ids=["none", "one", "two sizes", "seconds", "hold", "colours", "alt"],
)
def test_what_is_no_film_is_refused(figures, options, message):
    with pytest.raises(ValueError, match=message):
        show_film(figures, **({"alt": "a bar grows"} | options))
