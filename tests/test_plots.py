"""What the figures show: labels, limits, lines and panels, not only that they are drawn."""

import base64
import io
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from helpers.show import style
from helpers.show.landscapes import level_panels, level_sets, score_along
from helpers.show.maps import LARGE, SMALL, map_grid, maps_beside
from helpers.show.numbers import bars, convergence, dots_with_intervals
from helpers.show.style import COLOUR_MAPS, COLOURS, DASHES, MARKERS, STYLE, png, show

EXTENT = (-2.0, 2.0, -1.0, 3.0)


def ring(x):
    return x.square().sum(1, keepdim=True) - 1


def ring_figure(**options):
    start = torch.tensor([[1.5, 0.5]], dtype=torch.float64)
    way = torch.tensor([[1.5, 0.5], [1.2, 0.4], [0.9487, 0.3162]], dtype=torch.float64)
    arguments = {"function": ring, "extent": EXTENT, "start": start, "paths": {"flow": way}, "level": 0.0}
    return level_sets(**(arguments | options))


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def legend_of(figure):
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def panels_of(figure):
    """The axes with a picture in them (the colour bar has none)."""
    return [axes for axes in figure.axes if axes.images]


def maps_of(figure):
    """The pictures that are maps, not the image itself."""
    return [p for axes in panels_of(figure) for p in axes.images if p.get_cmap().name != "gray"]


def opened(data):
    return Image.open(io.BytesIO(data))


# ---- style -------------------------------------------------------------------------------------------------


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


def test_drawing_leaves_the_callers_style_and_pyplot_alone():
    before = dict(mpl.rcParams)
    assert type(ring_figure()) is Figure
    assert dict(mpl.rcParams) == before
    code = (
        "import torch; from helpers import plots; plots.png(plots.map_grid([[torch.ones(3, 3)]]));"
        "import matplotlib.pyplot as plt; print(len(plt.get_fignums()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


# ---- showing -----------------------------------------------------------------------------------------------


def test_png_is_reproducible_and_describes_itself():
    figure = ring_figure()
    data = png(figure, "a ring")
    assert data == png(ring_figure(), "a ring")
    assert opened(data).text["Description"] == "a ring"
    assert "Software" not in opened(data).text


def test_show_sends_one_png_with_its_description(monkeypatch):
    sent = []
    monkeypatch.setattr(style, "display", lambda data, **options: sent.append((data, options)))
    assert show(ring_figure(), "a ring") is None
    ((bundle, options),) = sent
    assert bundle["text/plain"] == "a ring"
    assert options["metadata"] == {"image/png": {"alt": "a ring"}}
    assert options["raw"]
    assert opened(base64.b64decode(bundle["image/png"])).format == "PNG"
    for bad in ("", "  ", None):
        with pytest.raises(ValueError, match="alt: expected a description"):
            show(ring_figure(), bad)


def test_a_notebook_cell_has_exactly_one_png_and_its_page_the_alt_text():
    """In a real kernel, with the inline backend on and pyplot imported, as a reader's setup cell may do."""
    setup = f"import sys; sys.path.insert(0, {str(Path(style.__file__).parents[1])!r})\n"
    setup += "%matplotlib inline\nimport matplotlib.pyplot as plt, torch\nfrom helpers import plots"
    draw = "figure = plots.map_grid([[torch.eye(3)]])\nplots.show(figure, 'a <diagonal>')"
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


# ---- two dimensions ----------------------------------------------------------------------------------------


def test_level_sets_draws_the_level_line_where_it_is():
    (line,) = by_gid(ring_figure(), "level line")
    vertices = np.concatenate([path.vertices for path in line.get_paths()])
    assert np.abs(np.hypot(*vertices.T) - 1).max() < 0.01
    assert len(vertices) > 100


def test_level_sets_draws_the_tangent_planes_level_line_and_step():
    # At (1.5, .5) the ring's score is 1.5, its gradient (3, 1): the step is -1.5 (3, 1) / 10.
    figure = ring_figure()
    (step,) = by_gid(figure, "tangent step")
    end = np.array([1.05, 0.35])
    assert step.get_xydata() == pytest.approx(np.array([[1.5, 0.5], end]))
    (line,) = by_gid(figure, "tangent level line")
    assert line.get_linestyle() == "--"
    for point in (line.get_xy1(), line.get_xy2()):
        assert (np.array(point) - [1.5, 0.5]) @ [3, 1] == pytest.approx(-1.5)


def test_level_sets_labels_and_colours():
    figure = ring_figure(names=("radius", "area"), score_name="log-odds", title="ring")
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("radius", "area", "ring")
    assert bar.get_ylabel() == "log-odds minus level"
    assert (*axes.get_xlim(), *axes.get_ylim()) == EXTENT
    filled = next(c for c in axes.findobj(ContourSet) if c.filled)
    assert filled.norm.vmin == -filled.norm.vmax
    assert legend_of(figure) == ["input", "level 0", "tangent plane's level", "tangent step", "flow"]


def test_level_sets_draws_every_path_with_its_end():
    ways = {
        "flow": torch.tensor([[1.5, 0.5], [0.95, 0.3]]),
        "straight": torch.tensor([[1.5, 0.5], [0.0, 0.1]]),
    }
    (axes, _) = ring_figure(paths=ways, tangent=False).axes
    drawn = [line.get_xydata() for line in axes.lines]
    for way in ways.values():
        assert any(d.shape == way.shape and np.allclose(d, way) for d in drawn)
        assert any(len(d) == 1 and np.allclose(d[0], way[-1]) for d in drawn)
    dashes = {line.get_linestyle() for line in axes.lines if len(line.get_xdata()) > 1}
    assert len(dashes) == 2  # told apart without colour


def test_level_sets_says_what_it_cannot_draw():
    flat = ring_figure(function=lambda x: x.sum(1).clamp(max=1.0), level=0.5)
    assert "gradient 0: no tangent step" in legend_of(flat)
    assert not by_gid(flat, "tangent step")
    constant = ring_figure(function=lambda x: torch.ones(len(x)) * 2)
    assert "level 0: not in this window" in legend_of(constant)
    assert not by_gid(constant, "level line")
    resting = ring_figure(paths={"flow": torch.tensor([[1.5, 0.5]]), "straight": torch.ones(3, 2)})
    assert legend_of(resting)[-2:] == ["flow: does not move", "straight: does not move"]
    far = ring_figure(level=100.0)
    assert "tangent step (ends outside)" in legend_of(far)
    assert "level 100: not in this window" in legend_of(far)


def test_level_sets_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"start: expected shape \(2,\) or \(1, 2\); got \(3,\)"):
        ring_figure(start=torch.zeros(3))
    with pytest.raises(ValueError, match=r"paths: expected points \(T, 2\) for 'flow'; got \(4, 1, 2\)"):
        ring_figure(paths={"flow": torch.zeros(4, 1, 2)})
    with pytest.raises(ValueError, match="function: expected one score a point"):
        ring_figure(function=lambda x: x)


def panels_figure(**options):
    ways = torch.tensor([[[1.5, 0.5], [0.9, 0.3]], [[0.5, 0.5], [0.6, 0.6]]], dtype=torch.float64)
    arguments = {
        "functions": {"one": ring, "two": lambda x: x[:, 0]},
        "levels": {"one": 0.0, "two": 5.0},
        "paths": {"one": {"both": ways}, "two": {"first": ways[0], "rests": ways[0, :1].expand(2, 2)}},
        "extent": EXTENT,
    }
    return level_panels(**(arguments | options))


def test_level_panels_share_one_scale_and_the_styles_of_their_labels():
    figure = panels_figure(reference=torch.tensor([[0.0, 1.0]]), score_name="log-odds")
    one, two, bar = figure.axes
    assert [one.get_title(), two.get_title()] == ["one", "two"]
    assert bar.get_ylabel() == "log-odds minus level"
    assert legend_of(figure) == ["input", "reference", "level", "both", "first", "rests"]
    fills = [s for axes in (one, two) for s in axes.findobj(ContourSet) if s.filled]
    assert fills[0].norm.vmax == fills[1].norm.vmax == -fills[0].norm.vmin
    (line,) = by_gid(figure, "level line")  # the second panel's level lies outside of its window
    assert np.linalg.norm(line.allsegs[0][0], axis=1) == pytest.approx(1, abs=0.01)
    assert len(by_gid(figure, "both")) == 2
    assert len(by_gid(figure, "first")) == 1
    assert not by_gid(figure, "rests")
    assert len(by_gid(figure, "reference")) == 2


def test_level_panels_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="the same names"):
        panels_figure(levels={"one": 0.0})
    with pytest.raises(ValueError, match="the same names"):
        panels_figure(functions={}, levels={}, paths={})
    with pytest.raises(ValueError, match=r"paths: .*'flow' in 'one'.*\(3,\)"):
        panels_figure(paths={"one": {"flow": torch.zeros(3)}, "two": {}})
    with pytest.raises(ValueError, match="one score a point"):
        panels_figure(functions={"one": lambda x: x, "two": ring})


def test_score_along_shows_score_tangent_and_level():
    way = torch.tensor([[2.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    figure = score_along(ring, {"flow": way, "straight": way}, level=0.0, score_name="log-odds")
    first, second = figure.axes
    assert [a.get_title() for a in figure.axes] == ["flow", "straight"]
    assert first.get_ylabel() == "log-odds"
    assert first.get_xlabel() == second.get_xlabel() == "length of the path"
    score, tangent, level = first.lines
    length = np.asarray(score.get_xdata())
    assert len(length) == 10
    assert np.allclose(score.get_ydata(), (2 - length) ** 2 - 1)
    assert np.allclose(tangent.get_ydata(), 3 - 4 * length)
    assert list(level.get_ydata()) == [0.0, 0.0]
    assert tangent.get_linestyle() == "--"
    assert first.get_ylim() == second.get_ylim()
    share = score_along(ring, {"flow": way * 2}, against="share").axes[0]
    assert share.lines[0].get_xdata()[-1] == pytest.approx(1.0)
    assert share.get_xlabel() == "share of the path"


def test_score_along_takes_images_and_points_that_rest():
    points = torch.stack([torch.full((1, 4, 4), v) for v in (1.0, 0.5, 0.5, 0.0)])
    (axes,) = score_along(lambda x: x.sum((1, 2, 3)), {"flow": points}).axes
    score, tangent = axes.lines
    assert score.get_ydata()[[0, -1]] == pytest.approx([16.0, 0.0])
    assert np.allclose(score.get_ydata(), tangent.get_ydata())  # affine: the tangent is right
    assert (np.diff(score.get_xdata()) > 0).all()


def test_score_along_refuses_what_it_cannot_draw():
    way = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="against: expected"):
        score_along(ring, {"flow": way}, against="time")
    with pytest.raises(ValueError, match="paths: expected at least one path"):
        score_along(ring, {})
    with pytest.raises(ValueError, match=r"at least two, for 'flow'; got \(1, 2\)"):
        score_along(ring, {"flow": way[:1]})
    with pytest.raises(ValueError, match="begin at the same input; 'other' does not"):
        score_along(ring, {"flow": way, "other": way + 1})


# ---- maps --------------------------------------------------------------------------------------------------


def test_maps_beside_have_one_symmetric_scale():
    image = torch.rand(1, 6, 5)
    figure = maps_beside(
        image, {"a": torch.full((6, 5), 0.5), "b": torch.full((1, 6, 5), -2.0)}, label="logit"
    )
    panels = panels_of(figure)
    assert [a.get_title() for a in panels] == ["image", "a", "b"]
    assert [m.get_clim() for m in maps_of(figure)] == [(-2.0, 2.0)] * 2
    assert panels[0].images[0].get_clim() == (0, 1)
    assert np.allclose(panels[0].images[0].get_array(), image[0])
    (bar,) = [a for a in figure.axes if a not in panels]
    assert bar.get_ylabel() == "logit"


def test_magnitudes_start_at_0_and_drop_the_sign():
    figure = map_grid([[torch.tensor([[-3.0, 1.0]])]], signed=False)
    (panel,) = maps_of(figure)
    assert panel.get_clim() == (0.0, 3.0)
    assert panel.get_array().tolist() == [[3.0, 1.0]]
    assert panel.get_cmap().name == COLOUR_MAPS["magnitude"].name


def test_a_percentile_is_used_and_stated():
    values = torch.arange(-50.0, 51.0).reshape(1, -1)
    figure = map_grid([[values]], percentile=80, label="score")
    (panel,) = maps_of(figure)
    limit = np.percentile(values.abs().numpy(), 80)
    assert panel.get_clim() == (-limit, limit)
    assert "80th percentile" in figure.axes[-1].get_ylabel()
    assert "percentile" not in map_grid([[values]]).axes[-1].get_ylabel()
    sparse = torch.zeros(10, 10)
    sparse[0, 0] = 4.0
    assert maps_of(map_grid([[sparse]], percentile=90))[0].get_clim() == (-4.0, 4.0)


def test_maps_of_different_units_can_each_have_their_own_limit():
    maps = {
        "a": torch.tensor([[1.0, -4.0]]),
        "b": torch.tensor([[300.0, 150.0]]),
        "nothing": torch.zeros(1, 2),
    }
    figure = map_grid([list(maps.values())], scale="map", label="support")
    assert [m.get_array().tolist() for m in maps_of(figure)] == [[[0.25, -1.0]], [[1.0, 0.5]], [[0.0, 0.0]]]
    assert {m.get_clim() for m in maps_of(figure)} == {(-1.0, 1.0)}
    assert figure.axes[-1].get_ylabel() == "support\n/ the map's largest value"


def test_each_row_can_have_its_own_limit():
    rows = [[torch.tensor([[1.0, -4.0]]), torch.tensor([[2.0, 0.0]])], [None, torch.tensor([[300.0, 150.0]])]]
    figure = map_grid(rows, scale="row", label="support")
    arrays = [m.get_array().tolist() for m in maps_of(figure)]
    assert arrays == [[[0.25, -1.0]], [[0.5, 0.0]], [[1.0, 0.5]]]
    assert figure.axes[-1].get_ylabel() == "support\n/ the row's largest value"


def test_map_grid_has_rows_columns_gaps_and_outlines():
    maps = [[torch.randn(4, 4), None, torch.randn(4, 4)], [torch.randn(4, 4)] * 3]
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[4:, :4] = True
    figure = map_grid(
        maps, ["one", "two"], ["a", "b", "c"], images=torch.rand(2, 3, 8, 8), outlines=[None, mask]
    )
    assert len(panels_of(figure)) == 2 + 5
    assert len(maps_of(figure)) == 5
    assert len({m.get_clim() for m in maps_of(figure)}) == 1
    assert [a.get_title() for a in figure.axes[:4]] == ["image", "a", "b", "c"]
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["one", "two"]
    boxes = by_gid(figure, "outline")
    assert len(boxes) == 4  # the image and the three maps of the second row
    assert {(b.get_xy(), b.get_width(), b.get_height()) for b in boxes} == {((-0.5, 3.5), 4.0, 4.0)}
    # A map of 4 x 4 lies over the whole image of 8 x 8.
    assert {tuple(p.get_extent()) for a in panels_of(figure) for p in a.images} == {(-0.5, 7.5, 7.5, -0.5)}


def test_strongly_negative_pixels_carry_a_minus():
    values = torch.tensor([[1.0, -1.0, 0.1], [-0.1, 0.0, -0.9]])
    figure = map_grid([[values]])
    (marks,) = by_gid(figure, "negative")
    assert isinstance(marks, PathCollection)
    assert marks.get_offsets().tolist() == [[1.0, 0.0], [2.0, 1.0]]
    assert not by_gid(map_grid([[values]], signed=False), "negative")
    assert not by_gid(map_grid([[torch.randn(200, 200)]]), "negative")  # too small to be read


def test_maps_refuse_what_they_cannot_draw():
    one = torch.zeros(4, 4)
    for arguments, message in (
        (([],), "maps: expected at least one row"),
        (([[None]],), "maps: expected at least one row"),
        (([[one], [one, one]],), r"maps: expected 1 for 2 x 1 maps; got \[1, 2\]"),
        (([[one]], ["a", "b"]), r"row_labels: expected 1 for 1 x 1 maps; got \[2\]"),
        (([[one]], None, ["a", "b"]), r"column_labels: expected 1"),
        (([[one]], None, None, [one, one]), r"images: expected 1"),
        (([[one / 0]],), "maps: expected finite values"),
        (([[torch.zeros(1, 3, 4, 4)]],), r"maps: expected maps of one example.*got \(1, 3, 4, 4\)"),
        (([[one]], None, None, [one + 7]), "image: expected values in .0, 1.; got 7 to 7"),
        (([[one]], None, None, [torch.zeros(2, 4, 4)]), r"image: expected shape.*got \(2, 4, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            map_grid(*arguments)
    with pytest.raises(ValueError, match='scale: expected "common", "row" or "map"; got \'own\''):
        map_grid([[one]], scale="own")
    with pytest.raises(ValueError, match="percentile: expected a number"):
        map_grid([[one]], percentile=0)
    with pytest.raises(ValueError, match=r"outlines: expected masks of shape \(4, 4\); got \(2, 2\)"):
        maps_beside(one, {"a": one}, outline=torch.ones(2, 2, dtype=torch.bool))


# ---- numbers -----------------------------------------------------------------------------------------------


def test_bars_show_every_value_at_its_feature():
    values = {"gradient": torch.tensor([[1.0, -2.0, 0.5]]), "flow": [0.0, 3.0, -4.0]}
    figure = bars(values, ["radius", "area", "texture"], label="logit")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "logit"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["radius", "area", "texture"]
    assert axes.yaxis_inverted()  # the first on top
    for container, expected in zip(axes.containers, ([1.0, -2.0, 0.5], [0.0, 3.0, -4.0]), strict=True):
        assert [bar.get_width() for bar in container] == expected
        centres = [bar.get_y() + bar.get_height() / 2 for bar in container]
        assert np.round(centres).tolist() == [0, 1, 2]
    assert legend_of(figure) == ["gradient", "flow"]
    assert len({container[0].get_hatch() for container in axes.containers}) == 2


def test_bars_keep_the_largest():
    (axes,) = bars({"a": [1.0, -5.0, 2.0], "b": [0.0, 0.0, 3.0]}, ["x", "y", "z"], largest=2).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["y", "z"]
    assert [[bar.get_width() for bar in c] for c in axes.containers] == [[-5.0, 2.0], [0.0, 3.0]]


def test_bars_refuse_values_without_a_feature():
    with pytest.raises(ValueError, match=r"values: expected 3 finite values.*for 'a'; got shape \(2,\)"):
        bars({"a": [1.0, 2.0]}, ["x", "y", "z"])
    with pytest.raises(ValueError, match="values: expected at least one method"):
        bars({}, ["x"])


def test_convergence_is_log_log_with_the_slope_in_the_legend():
    sizes = torch.logspace(-4, 0, 5)
    errors = {
        "first": 3 * sizes,
        "second": sizes.double() ** 2,
        "exact": sizes * 0,
        "some": sizes * (sizes > 1e-3),
    }
    figure = convergence(sizes, errors, x_label="step", y_label="miss")
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "miss")
    labels = legend_of(figure)
    assert labels[:3] == ["first: slope 1.00", "second: slope 2.00", "exact: exactly 0 everywhere"]
    assert labels[3].startswith("some: slope 1.00, ")
    points = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata())]
    assert np.allclose(points[0].get_ydata(), 3 * sizes)
    with pytest.raises(ValueError, match="expected as many values as x"):
        convergence(sizes, {"a": [1.0, 2.0]})


def test_dots_stand_at_their_means_with_their_intervals():
    table = pd.DataFrame(
        [
            ("ours", "best", 0.9, 0.85, 0.92),
            ("ours", "others", 0.8, 0.7, 0.9),
            ("peer", "best", 0.6, 0.5, 0.7),
        ],
        columns=["method", "part", "mean", "low", "high"],
    )
    figure = dots_with_intervals(table)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "rank AUC (chance 0.5)"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ours", "peer"]
    assert axes.get_ylim() == (1.5, -0.5)
    best, others = axes.containers
    assert list(best.lines[0].get_xdata()) == [0.9, 0.6]
    (segments,) = best.lines[2]
    assert [s[:, 0].tolist() for s in segments.get_segments()] == [
        pytest.approx([0.85, 0.92]),
        pytest.approx([0.5, 0.7]),
    ]
    assert list(others.lines[0].get_xdata()) == [0.8]
    assert set(legend_of(figure)) == {"best", "others", "chance"}
    chance = [line for line in axes.lines if line.get_label() == "chance"]
    assert list(chance[0].get_xdata()) == [0.5, 0.5]
    assert "chance" not in legend_of(dots_with_intervals(table, chance=None))
    with pytest.raises(ValueError, match="table: expected rows with the columns"):
        dots_with_intervals(table.drop(columns="low"))


def test_dots_with_intervals_takes_a_mean_that_rounding_put_outside_its_interval():
    low = float(np.nextafter(0.5, 1))
    figure = dots_with_intervals(
        pd.DataFrame({"method": ["a"], "part": ["all"], "mean": [0.5], "low": [low], "high": [low]})
    )
    assert figure.axes[0].get_yticklabels()[0].get_text() == "a"
