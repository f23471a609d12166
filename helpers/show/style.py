"""How figures look, and how they are shown with an alternative text."""

import base64
import functools
import io
import math
import textwrap
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import torch
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image
from PIL.PngImagePlugin import PngInfo

COLOUR_MAPS = {
    "signed": mpl.colormaps["RdBu_r"],
    "magnitude": mpl.colormaps["magma"],
    "image": mpl.colormaps["gray"],
    # The middle of "signed": a background on which lines can be seen.
    "landscape": LinearSegmentedColormap.from_list(
        "landscape", mpl.colormaps["RdBu_r"](np.linspace(0.2, 0.8, 256))
    ),
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "++")
REFERENCE_MARK = {
    "marker": "s",
    "color": "white",
    "markeredgecolor": "black",
    "markersize": 8,
    "linestyle": "none",
}
# Beyond this share of the colour scale a negative pixel carries a minus.
STRONG = 0.4
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.framealpha": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "0.85",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.6,
    "image.interpolation": "nearest",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """The same function, drawing in the style of this module and leaving the caller's as it was.

    A `$` in a text of the figure, such as the name of a class, is drawn as it is, and starts no mathematics.
    """

    @functools.wraps(draw)
    def styled(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        # Not for all by STYLE: the ticks of logarithmic axes, which get their texts later, are mathematics.
        for text in figure.findobj(Text):
            if "$" in text.get_text():
                text.set_parse_math(False)
        return figure

    return styled


def line_style(number: int) -> dict:
    """Colour, dash and marker of a line, counted from 0, as keywords of matplotlib's `plot`.

    All three change from line to line, so that lines differ in a grey print and for every eye; from the eighth on
    the colours come again, with other dashes.

    Example:
        >>> line_style(0)
        {'color': '#0072B2', 'linestyle': '-', 'marker': 'o'}
        >>> line_style(7)
        {'color': '#0072B2', 'linestyle': '--', 'marker': 'o'}
    """
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def png(figure: Figure, alt: str = "") -> bytes:
    """The figure as a PNG; the same figure gives the same bytes.

    Args:
        alt: what the figure shows, in words; kept in the file as its description.

    Example:
        >>> from matplotlib.figure import Figure
        >>> png(Figure(), alt="an empty page")[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    metadata = {"Software": None} | ({"Description": alt} if alt else {})
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata=metadata, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def few_colours(frames: Sequence[Image.Image], colours: int = 96) -> list[Image.Image]:
    """The pictures, all of one size, in the same few colours: a third of the bytes, and drawings look as before.

    What is nearly white becomes white. With more than 128 colours, as for photographs, what lies between two of
    them is drawn as dots of both.

    Args:
        frames: at least one.
        colours: at most so many different ones, 2 to 256.

    Raises:
        ValueError: another number of colours.

    Example:
        >>> [frame.mode for frame in few_colours([Image.new("RGB", (4, 4), "red")] * 2)]
        ['P', 'P']
    """
    if isinstance(colours, bool) or not isinstance(colours, int) or not 2 <= colours <= 256:
        raise ValueError(f"colours: expected an integer from 2 to 256; got {colours!r}.")
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, height * len(frames)))
    for place, frame in enumerate(frames):
        sheet.paste(frame, (0, place * height))
    many = colours > 128
    dots = Image.Dither.FLOYDSTEINBERG if many else Image.Dither.NONE
    method = Image.Quantize.FASTOCTREE if many else None
    palette = sheet.quantize(colours, method, kmeans=0 if many else 4, dither=Image.Dither.NONE)
    # Paper would be the mean of what is nearly white, another one in every picture.
    entries = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    entries[entries.min(1) > 245] = 255
    palette.putpalette(entries.tobytes())
    return [frame.quantize(palette=palette, dither=dots) for frame in frames]


def as_png(frames: Sequence[Image.Image], alt: str = "", milliseconds: Sequence[int] = ()) -> bytes:
    """A PNG of one picture, or of several: then it moves, over and over.

    Args:
        frames: of one size and mode.
        milliseconds: how long each is shown.

    Example:
        >>> moving = as_png([Image.new("L", (2, 2), grey) for grey in (0, 99)], milliseconds=[100, 200])
        >>> Image.open(io.BytesIO(moving)).n_frames
        2
    """
    buffer, words = io.BytesIO(), PngInfo()
    words.add_text("Description", alt)
    more = {"save_all": True, "append_images": frames[1:], "duration": list(milliseconds), "loop": 0}
    frames[0].save(buffer, "PNG", pnginfo=words, optimize=True, **(more if len(frames) > 1 else {}))
    return buffer.getvalue()


def show(figure: Figure, alt: str, colours: int | None = None) -> None:
    """Show the figure in the notebook as one PNG, with a description for those who cannot see it.

    Args:
        alt: what the figure shows, in words: axes, and what is to be seen; without numbers that may differ
            between machines, because nbval compares it.
        colours: at most so many different ones, 2 to 256: a figure of photographs takes a third of the bytes.

    Raises:
        ValueError: no description, another number of colours.

    Example:
        >>> import io
        >>> from contextlib import redirect_stdout
        >>> from matplotlib.figure import Figure
        >>> with redirect_stdout(io.StringIO()) as shown:  # without a notebook the description is printed
        ...     show(Figure(), alt="an empty page")
        >>> "an empty page" in shown.getvalue()
        True
    """
    picture = png(figure, alt)
    if colours is not None:
        (few,) = few_colours([Image.open(io.BytesIO(picture)).convert("RGB")], colours)
        picture = as_png([few], alt)
    show_png(picture, alt)


def show_png(picture: bytes, alt: str) -> None:
    """Show a PNG, which may move, with its description; `show` for one that is drawn already.

    Raises:
        ValueError: no description.

    Example:
        >>> show_png(b"", alt=" ")
        Traceback (most recent call last):
        ValueError: alt: expected a description of the figure in words; got ' '.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a description of the figure in words; got {alt!r}.")
    data = base64.b64encode(picture).decode()
    display(
        {"image/png": data, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True, include=None
    )


def as_numbers(values) -> np.ndarray:
    """Numbers of any kind (a tensor on any device, a sequence) as float64 of the same shape."""
    return torch.as_tensor(values).detach().double().cpu().numpy()


def halo(width: float) -> list:
    """Path effects that put a white edge around a line."""
    return [withStroke(linewidth=width, foreground="white")]


def framed(axes) -> None:
    """Give a panel a thin grey frame all around, and no ticks."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.6")


def shared_legend(figure: Figure, axes, columns: int) -> None:
    """One legend below all panels, of the lines of one of them."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def percent_text(probability: float, decimal: bool = False) -> str:
    """A probability in per cent: whole from 10 % on, with one decimal below.

    Args:
        decimal: one decimal everywhere, and no 100 % for what is a little less.

    Example:
        >>> percent_text(0.1234), percent_text(0.1234, decimal=True), percent_text(0.99999, decimal=True)
        ('12 %', '12.3 %', '> 99.9 %')
    """
    if 0 < probability < 0.001:
        return "< 0.1 %"
    if decimal and probability > 0.9995:
        return "> 99.9 %"
    return f"{100 * probability:.{1 if decimal or probability < 0.0995 else 0}f} %"


def number_text(value: float, decimals: bool = False) -> str:
    """Three significant digits, whole numbers from 100 on, no minus before a zero, a dash for NaN.

    Args:
        decimals: two decimals instead, and one significant digit where these would be zeros.

    Example:
        >>> [number_text(value) for value in (-7.5536, 34.316, 0.00321, 1234.5)]
        ['−7.55', '34.3', '0.00', '1234']
        >>> [number_text(value, decimals=True) for value in (-7.5536, 34.316, 0.00321, -1e-9)]
        ['−7.55', '34.32', '0.003', '0']
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "infinite"
    size = abs(value)
    if size >= 100:
        text = f"{value:.0f}"
    elif size >= 0.01:
        text = f"{value:.2f}" if decimals else f"{value:#.3g}".rstrip(".")
    elif decimals:
        text = f"{value:.1g}" if size >= 1e-6 else "0"
    else:
        text = f"{size:.2f}"
    return text.replace("-", "−")


def wrapped(name: str, width: int = 14) -> str:
    """The name in lines of at most `width` characters; a longer word keeps a line of its own."""
    return textwrap.fill(name, width, break_long_words=False)
