"""What moves: figures one after the other, as an animated PNG."""

import io
from collections.abc import Iterable

from matplotlib.figure import Figure
from PIL import Image

from helpers.checks import require_above_0
from helpers.show.style import as_png, few_colours, png, show_png


def show_film(
    figures: Iterable[Figure], alt: str, seconds: float = 0.4, hold: float = 2.0, colours: int = 64
) -> None:
    """Show figures one after the other, over and over, as one animated PNG; it plays wherever a PNG is shown.

    Args:
        figures: at least two, all of one size, in order. Where nothing moves, the first alone is seen: it must
            make sense by itself.
        alt: as in `helpers.show.style.show`.
        seconds: how long each is seen, above 0.
        hold: how long the last is seen.
        colours: at most so many different ones, 2 to 256: fewer bytes.

    Raises:
        ValueError: fewer than two figures, figures of different sizes, seconds or hold not above 0, no
            description, another number of colours.

    Example:
        >>> import io
        >>> from contextlib import redirect_stdout
        >>> with redirect_stdout(io.StringIO()) as shown:  # without a notebook the description is printed
        ...     show_film([Figure(figsize=(1, 1)) for _ in range(2)], alt="an empty page, twice")
        >>> "twice" in shown.getvalue()
        True
    """
    for name, value in (("seconds", seconds), ("hold", hold)):
        require_above_0(name, value)
    frames = [Image.open(io.BytesIO(png(figure))).convert("RGB") for figure in figures]
    sizes = sorted({frame.size for frame in frames})
    if len(frames) < 2 or len(sizes) > 1:
        raise ValueError(f"figures: expected at least two, of one size; got {len(frames)}, of {sizes}.")
    times = [*[round(1000 * seconds)] * (len(frames) - 1), round(1000 * hold)]
    show_png(as_png(few_colours(frames, colours), alt, times), alt)
