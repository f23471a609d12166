"""How figures look and are shown: colours, type, texts, files."""

import base64
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from figures import moving_frames, opened, ring_figure
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from helpers.show import style
from helpers.show.maps import LARGE, SMALL, comparison_sheet, map_grid, maps_beside
from helpers.show.numbers import bars, convergence
from helpers.show.style import (
    COLOUR_MAPS,
    COLOURS,
    DASHES,
    MARKERS,
    STYLE,
    as_png,
    few_colours,
    number_text,
    percent_text,
    png,
    show,
    show_png,
)
from helpers.zoo.photographs import photograph


def lightness(name):
    colours = COLOUR_MAPS[name](np.linspace(0, 1, 256))[None, :, :3]
    return rgb2lab(colours)[0, :, 0]


@pytest.mark.parametrize("name", ["magnitude", "image"])
def test_colour_maps_of_magnitudes_grow_lighter_throughout(name):
    steps = np.diff(lightness(name))
    assert (steps > 0).all()


def test_the_colour_map_of_magnitudes_is_perceptually_uniform():
    steps = np.diff(lightness("magnitude"))
    assert steps.max() < 2 * steps.mean()


@pytest.mark.parametrize("name", ["signed", "landscape"])
def test_signed_colour_maps_are_symmetric_about_a_light_centre(name):
    light = lightness(name)
    assert np.abs(light - light[::-1]).max() < 5
    assert light.argmax() == pytest.approx(127.5, abs=2)
    assert (np.diff(light[:128]) > -0.01).all()
    red, _, blue = COLOUR_MAPS[name](1.0)[:3]
    assert red > blue  # positive is red
    assert COLOUR_MAPS[name](0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.02)


# Linear RGB as seen without one kind of cone: Machado, Oliveira & Fernandes 2009, doi 10.1109/TVCG.2009.113.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(colours, deficiency):
    """Colours (n, 3) in sRGB as L*a*b* (n, 3), as seen with that deficiency."""
    colours = np.asarray(colours, float)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.array(DEFICIENCIES[deficiency]).T).clip(0, 1)
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(back[None])[0]


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_of_lines_can_be_told_apart_with_a_colour_vision_deficiency(deficiency):
    found = seen([mpl.colors.to_rgb(colour) for colour in COLOURS], deficiency)
    apart = deltaE_ciede2000(found[:, None], found[None])
    # 2 is just noticeable side by side; lines lie apart, so five times that
    assert apart[~np.eye(len(found), dtype=bool)].min() > 10
    assert len(COLOURS) == len(set(MARKERS)) == len(set(DASHES)), "and by more than colour"


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_two_sides_of_a_signed_map_stay_apart_and_magnitudes_in_order(deficiency):
    ends = COLOUR_MAPS["signed"](np.linspace(0, 1, 257))[:, :3]
    found = seen(ends, deficiency)
    far = deltaE_ciede2000(found[:96], found[::-1][:96])  # beyond a quarter of the scale on either side
    assert far.min() > 15
    grows = seen(COLOUR_MAPS["magnitude"](np.linspace(0, 1, 64))[:, :3], deficiency)[:, 0]
    assert (np.diff(grows) > 0).all()


def test_type_can_be_read_at_half_size():
    # 9 points are 12.5 pixels in a figure of 100 dots an inch, and 6 of them are left at half its size.
    assert STYLE["figure.dpi"] == STYLE["savefig.dpi"] == 100
    sizes = [value for name, value in STYLE.items() if name.endswith("size") and "line" not in name]
    assert len(sizes) >= 6
    assert min(*sizes, LARGE, SMALL) >= 9


def test_no_other_colour_map_is_used():
    image, maps = torch.rand(8, 8), {"a": torch.randn(8, 8)}
    figures = [ring_figure(), maps_beside(image, maps), maps_beside(image, maps, signed=False)]
    used = {
        artist.get_cmap().name
        for figure in figures
        for artist in figure.findobj(lambda a: isinstance(a, AxesImage | ContourSet))
        if getattr(artist, "filled", True)  # contour lines have one fixed colour
    }
    assert used == {cmap.name for cmap in COLOUR_MAPS.values()}


@pytest.mark.parametrize("name", ["$$", "5$ to 10$", r"$\frac{1}{2}$", r"\$ $x$"])
def test_a_dollar_in_a_name_is_a_dollar_and_no_mathematics(name):
    eye = torch.eye(4)
    figures = (
        map_grid([[eye]], row_labels=[name], column_labels=[name], title=name),
        comparison_sheet({name: [eye]}, [name], costs={name: name}, title=name),
        bars({name: [1.0, 2.0], "b": [0.0, 1.0]}, [name, "y"]),
        ring_figure(paths={name: torch.tensor([[1.5, 0.5], [0.9, 0.3]])}, names=(name, "b"), title=name),
        convergence([0.1, 0.2, 0.4], {name: [0.01, 0.04, 0.16]}),
    )
    for figure in figures:
        png(figure)
        named = [text for text in figure.findobj(mpl.text.Text) if name in text.get_text()]
        assert named
        assert not any(text.get_parse_math() for text in named)
    # powers of ten on logarithmic axes are mathematics
    powers = [text for text in figures[-1].axes[0].get_xticklabels() if "mathdefault" in text.get_text()]
    assert powers
    assert all(text.get_parse_math() for text in powers)


def test_drawing_leaves_the_callers_style_and_pyplot_alone():
    before = dict(mpl.rcParams)
    assert type(ring_figure()) is Figure
    assert dict(mpl.rcParams) == before
    code = (
        "import torch; from helpers.show.maps import map_grid; from helpers.show.style import png;"
        "png(map_grid([[torch.ones(3, 3)]]));"
        "import matplotlib.pyplot as plt; print(len(plt.get_fignums()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_names_and_numbers_in_words():
    values = {0.5: "50 %", 1.0: "100 %", 0.0999: "10 %", 0.034: "3.4 %", 0.00001: "< 0.1 %", 0.0: "0.0 %"}
    assert {p: percent_text(p) for p in values} == values
    values = {0.99999: "> 99.9 %", 0.0001: "< 0.1 %", 0.3864: "38.6 %"}
    assert {p: percent_text(p, decimal=True) for p in values} == values
    numbers = {-16.797: "−16.8", 1234.5: "1234", -1e-6: "0.00", 0.0: "0.00", 2.0: "2.00", 0.0123: "0.0123"}
    assert {v: number_text(v) for v in numbers} == numbers
    numbers = {0.0: "0", -1e-9: "0", -7.551: "−7.55", 34.316: "34.32", 123.4: "123", 0.0012: "0.001"}
    assert {v: number_text(v, decimals=True) for v in numbers} == numbers
    assert (number_text(float("nan")), number_text(float("inf"))) == ("–", "infinite")


# ---- showing -------------------------------------------------------------------------------------------------


def test_png_is_reproducible_and_describes_itself():
    figure = ring_figure()
    data = png(figure, "a ring")
    assert data == png(ring_figure(), "a ring")
    assert opened(data).text["Description"] == "a ring"
    assert "Software" not in opened(data).text


@pytest.fixture
def sent(monkeypatch):
    """What `display` is called with: (data, options) each."""
    calls = []
    monkeypatch.setattr(style, "display", lambda data, **options: calls.append((data, options)))
    return calls


def test_show_sends_one_png_with_its_description(sent):
    assert show(ring_figure(), "a ring") is None
    ((bundle, options),) = sent
    assert bundle["text/plain"] == "a ring"
    assert options["metadata"] == {"image/png": {"alt": "a ring"}}
    assert options["raw"]
    assert opened(base64.b64decode(bundle["image/png"])).format == "PNG"
    for bad in ("", "  ", None):
        with pytest.raises(ValueError, match="alt: expected a description"):
            show(ring_figure(), bad)
        with pytest.raises(ValueError, match="alt: expected a description"):
            show_png(png(ring_figure()), bad)
    assert len(sent) == 1


def photographs(number=3, size=(40, 30)):
    """Pictures with far more than 256 colours."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(number)]


def different(picture):
    return len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("colours", [2, 48, 256])
def test_few_colours_are_few_and_the_same_in_every_picture(colours):
    frames = few_colours(photographs(), colours)
    assert [frame.size for frame in frames] == [(40, 30)] * 3
    assert len({tuple(frame.getpalette()) for frame in frames}) == 1
    width, height = frames[0].size
    sheet = Image.new("RGB", (width, 3 * height))
    for place, frame in enumerate(frames):
        sheet.paste(frame.convert("RGB"), (0, place * height))
    assert 1 < different(sheet) <= colours


def test_a_drawing_of_few_colours_stays_as_it_was():
    drawing = Image.new("RGB", (9, 9), "white")
    drawing.paste((0, 114, 178), (2, 2, 5, 5))
    (few,) = few_colours([drawing], 8)
    assert np.array_equal(few.convert("RGB"), drawing)


def test_paper_stays_white_among_few_colours():
    figure = png(ring_figure())
    drawn = np.asarray(opened(figure).convert("RGB"))
    (few,) = few_colours([opened(figure).convert("RGB")], 24)
    white = (drawn == 255).all(-1)
    assert white.mean() > 0.1
    assert (np.asarray(few.convert("RGB"))[white] == 255).all()


@pytest.mark.parametrize(("colours", "off"), [(48, 2.8), (64, 2.6), (200, 4)])
def test_few_colours_of_a_map_over_a_photograph_are_those_it_had(colours, off):
    """Greys beside a warm map must not turn yellow, nor light ones dark."""
    photo = photograph("chelsea", 96).image.mean(0).numpy()
    over = np.kron(np.random.default_rng(0).random((6, 12)) ** 2, np.ones((16, 8)))
    over[:, 60:] = 0
    mixed = (0.4 + 0.5 * photo)[..., None] * (1 - over[..., None]) + mpl.colormaps["magma"](over)[
        ..., :3
    ] * over[..., None]
    picture = Image.fromarray((255 * mixed.clip(0, 1)).astype(np.uint8))
    (few,) = few_colours([picture], colours)
    assert np.abs(np.asarray(few.convert("RGB")).astype(int) - np.asarray(picture)).mean() < off
    grey = np.asarray(few.convert("RGB")).astype(int)[:, 60:]
    assert (grey.max(-1) - grey.min(-1)).max() < 12


@pytest.mark.parametrize("colours", [1, 257, 2.5, True, None])
def test_another_number_of_colours_is_refused(colours):
    with pytest.raises(ValueError, match=r"colours: expected an integer from 2 to 256; got"):
        few_colours(photographs(), colours)


def test_one_picture_is_a_png_that_does_not_move():
    (few,) = few_colours(photographs(1))
    data = as_png([few], "noise")
    assert data == as_png([few], "noise")
    assert opened(data).text["Description"] == "noise"
    assert not opened(data).is_animated
    assert np.array_equal(opened(data).convert("RGB"), few.convert("RGB"))


def test_several_pictures_are_a_png_that_moves_over_and_over():
    frames = few_colours(photographs(), 64)
    data = as_png(frames, "noise", [100, 250, 2000])
    moving = opened(data)
    assert (moving.n_frames, moving.size, moving.info["loop"]) == (3, (40, 30), 0)
    shown = moving_frames(data)
    assert [time for _, time in shown] == [100, 250, 2000]
    for (picture, _), frame in zip(shown, frames, strict=True):
        assert np.array_equal(picture, frame.convert("RGB"))


def test_show_with_few_colours_sends_fewer_bytes_and_the_same_description(sent):
    picture = np.random.default_rng(0).random((60, 60, 3))
    figure = Figure(figsize=(2, 2))
    figure.add_subplot().imshow(picture)
    show(figure, "noise")
    show(figure, "noise", colours=32)
    (full, options), (few, same_options) = sent
    assert options == same_options
    assert few["text/plain"] == full["text/plain"] == "noise"
    images = [opened(base64.b64decode(bundle["image/png"])) for bundle in (full, few)]
    assert images[0].size == images[1].size
    assert images[1].text["Description"] == "noise"
    assert different(images[1]) <= 32 < different(images[0])
    assert len(few["image/png"]) < len(full["image/png"]) / 2
    with pytest.raises(ValueError, match="colours: expected an integer from 2 to 256; got 0"):
        show(figure, "noise", colours=0)


def test_a_notebook_cell_has_exactly_one_png_and_its_page_the_alt_text():
    """In a real kernel, with the inline backend on and pyplot imported, as a reader's setup cell may do."""
    setup = f"import sys; sys.path.insert(0, {str(Path(style.__file__).parents[2])!r})\n"
    setup += "%matplotlib inline\nimport matplotlib.pyplot as plt, torch\n"
    setup += "from helpers.show.maps import map_grid\nfrom helpers.show.style import show"
    draw = "figure = map_grid([[torch.eye(3)]])\nshow(figure, 'a <diagonal>')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (setup, draw)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[1].outputs
    assert output.output_type == "display_data"
    assert set(output.data) == {"image/png", "text/plain"}
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert 'alt="a &lt;diagonal&gt;"' in page
    assert page.count("<img") == 1


def test_figures_stay_small():
    photo = torch.rand(3, 64, 64)
    rows = [[torch.randn(28, 28) for _ in range(4)] for _ in range(3)]
    for figure in (ring_figure(), maps_beside(photo, {"a": torch.randn(64, 64)}), map_grid(rows)):
        assert len(png(figure)) < 150_000
