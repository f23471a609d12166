"""What maps show in a grid and on a sheet: panels, limits, labels, costs, and what they refuse."""

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from figures import by_gid, drawn, maps_of, panels_of, signed_maps, words_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from helpers.measure.cost import Cost
from helpers.show import maps as show_maps
from helpers.show.maps import PALE, _veil, comparison_sheet, map_grid, maps_beside, maps_over_ink
from helpers.show.style import COLOUR_MAPS, png

PHOTO = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = ["tiger cat", "tabby"]


def maps_of_two():
    ramp = torch.linspace(-1, 1, 64).reshape(1, 8, 8)
    return {"gradient": torch.stack([ramp, 2 * ramp]), "Occlusion": [300 * ramp, torch.zeros(2, 4, 4)]}


def sheet(**options):
    return comparison_sheet(**({"maps": maps_of_two(), "classes": CLASSES} | options))


def laid_over(image, maps, **options):
    """A sheet of one row with its maps over the image."""
    maps = {name: saliency[None] for name, saliency in maps.items()}
    return comparison_sheet(maps, [""], image=image, over=True, size=3.0, **options)


# ---- grids ---------------------------------------------------------------------------------------------------


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


def test_a_percentile_of_a_grid_is_used_and_stated():
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
    with pytest.raises(ValueError, match="scale: expected one of map, row, column, common; got 'own'"):
        map_grid([[one]], scale="own")
    with pytest.raises(ValueError, match="percentile: expected a number"):
        map_grid([[one]], percentile=0)
    with pytest.raises(ValueError, match=r"outlines: expected masks of shape \(4, 4\); got \(2, 2\)"):
        maps_beside(one, {"a": one}, outline=torch.ones(2, 2, dtype=torch.bool))


# ---- comparison sheet ----------------------------------------------------------------------------------------


def test_a_sheet_has_a_row_a_class_and_a_column_a_method():
    figure = sheet(image=PHOTO, probabilities=torch.tensor([0.874, 0.0004]))
    assert type(figure) is Figure
    image, *panels = panels_of(figure)
    assert image.get_title() == "image"
    assert len(panels) == 4
    assert [p.get_title() for p in panels] == ["gradient", "Occlusion", "", ""]
    assert [p.get_ylabel() for p in panels] == ["tiger cat\n87 %", "", "tabby\n< 0.1 %", ""]
    assert np.allclose(image.images[0].get_array(), PHOTO.permute(1, 2, 0))
    # a layer's map of 4 x 4 lies over the whole panel
    assert {tuple(p.get_extent()) for a in panels for p in a.images} == {(-0.5, 7.5, 7.5, -0.5)}
    below = sheet(image=PHOTO).axes[1:5]
    assert [p.get_ylabel() for p in below] == ["tiger cat", "", "tabby", ""]


def test_the_image_stands_once_at_the_left_or_once_a_row():
    spanning = panels_of(sheet(image=PHOTO))[0].get_subplotspec()
    assert (spanning.rowspan.start, spanning.rowspan.stop) == (0, 2)
    figure = sheet(image=[PHOTO, PHOTO.flip(2)])
    panels = panels_of(figure)
    assert len(panels) == 6
    assert [p.get_ylabel() for p in panels] == ["tiger cat", "", "", "tabby", "", ""]
    assert np.allclose(panels[3].images[0].get_array(), PHOTO.flip(2).permute(1, 2, 0))
    assert len(panels_of(sheet(image=torch.stack([PHOTO, PHOTO])))) == 6
    assert len(panels_of(sheet())) == 4


def test_every_scale_divides_by_what_it_says():
    def largest(scale):
        figure = sheet(scale=scale, percentile=100, label="score")
        maps = signed_maps(figure)
        assert len({m.get_clim() for m in maps}) == 1
        low, high = maps[0].get_clim()
        assert low == -high
        return [float(np.abs(m.get_array()).max()) for m in maps], high, figure.axes[-1].get_ylabel()

    assert largest("map") == ([1, 1, 1, 0], 1, "score\n/ the map's largest value")
    values, high, label = largest("row")
    assert (values, high) == (pytest.approx([1 / 300, 1, 1, 0]), 1)
    assert label == "score\n/ the row's largest value"
    values, high, label = largest("column")
    assert (values, high) == ([0.5, 1, 1, 0], 1)
    assert label == "score\n/ the method's largest value"
    assert largest("common") == ([1, 300, 2, 0], 300, "score")


def test_a_percentile_is_used_and_stated():
    figure = sheet(percentile=90)
    first = signed_maps(figure)[0].get_array()
    values = np.linspace(-1, 1, 64)
    assert np.allclose(first.reshape(-1), values / np.percentile(np.abs(values), 90), atol=1e-6)
    assert "90th percentile" in figure.axes[-1].get_ylabel()
    common = sheet(percentile=90, scale="common").axes[-1].get_ylabel()
    assert common == "support\n(ends at 90th percentile)"


def test_magnitudes_start_at_0():
    maps = drawn(sheet(signed=False, percentile=100), COLOUR_MAPS["magnitude"].name)
    assert len(maps) == 4
    assert {m.get_clim() for m in maps} == {(0.0, 1.0)}
    assert all(float(m.get_array().min()) >= 0 for m in maps)


def test_maps_are_averaged_over_squares_before_their_magnitude_is_taken():
    checks = torch.ones(8, 8)
    checks[::2] = -3.0
    for signed, value in ((True, -1.0), (False, 1.0)):
        figure = comparison_sheet(
            {"a": [checks], "layer": [torch.ones(2, 2)]}, ["x"], signed=signed, scale="common", square=2
        )
        first, second = (axes.images[0] for axes in panels_of(figure))
        assert first.get_array().tolist() == np.full((4, 4), value).tolist()
        assert second.get_array().tolist() == np.ones((2, 2)).tolist()  # as it was
        assert first.get_extent() == [-0.5, 7.5, 7.5, -0.5]
        assert "(mean over 2 px squares)" in figure.axes[-1].get_ylabel()


def test_the_cost_stands_under_each_column():
    costs = {"gradient": Cost(1, 0, work=2.0), "Occlusion": Cost(72, 6.3333, 216, 1, work=115.23)}
    figure = sheet(costs=costs)
    assert [p.get_xlabel() for p in panels_of(figure)] == [
        "",
        "",
        "1 gradient\nwork: 2 passes",
        "72 gradients\n+ 216 in part\n+ 6.33 passes\n+ 1 in part\nwork: 115 passes",
    ]
    figure = sheet(costs={"Occlusion": Cost(0, 170)})
    assert [p.get_xlabel() for p in panels_of(figure)[2:]] == ["", "170 passes"]
    assert panels_of(sheet(costs={"gradient": "one night"}))[2].get_xlabel() == "one night"
    assert panels_of(sheet(costs={"gradient": Cost(0, 0, work=0.0)}))[2].get_xlabel() == "no pass"


def test_rows_can_be_outlined():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[4:, :4] = True

    def boxes(figure):
        return figure.findobj(lambda artist: artist.get_gid() == "outline")

    assert len(boxes(sheet(outlines=[None, mask], image=PHOTO))) == 2
    assert len(boxes(sheet(outlines=[None, mask], image=[PHOTO, PHOTO]))) == 3
    (one, _) = boxes(sheet(outlines=[None, mask], square=2))
    assert (one.get_xy(), one.get_width(), one.get_height()) == ((-0.5, 3.5), 4.0, 4.0)
    with pytest.raises(ValueError, match=r"outlines: expected masks of shape \(8, 8\); got \(4, 4\)"):
        sheet(outlines=[mask[:4, :4], None])


def test_text_can_be_read_at_half_size():
    figure = sheet(image=PHOTO, costs={"gradient": Cost(1, 0)}, probabilities=[0.5, 0.5], title="title")
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
    assert min(t.get_fontsize() for t in texts) >= 12


def test_nothing_is_cut_off_and_no_text_lies_on_another_panel():
    figure = sheet(
        image=PHOTO,
        costs={"gradient": Cost(72, 6.3333, 216, 12, work=115.23)},
        probabilities=[0.5, 0.5],
        title="title",
        classes=["a class with a long name", "x"],
    )
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    boxes = [axes.get_tightbbox(renderer) for axes in panels_of(figure)]
    for i, one in enumerate(boxes):
        for two in boxes[i + 1 :]:
            across = min(one.x1, two.x1) - max(one.x0, two.x0)
            down = min(one.y1, two.y1) - max(one.y0, two.y0)
            assert min(across, down) <= 1


def test_sheets_refuse_what_they_cannot_draw():
    one = [torch.zeros(4, 4)]
    for options, message in (
        ({"maps": {}}, "maps, classes: expected at least one"),
        ({"classes": []}, "maps, classes: expected at least one"),
        ({"maps": {"a": one}}, r"maps\['a'\]: expected 2, one a class; got 1"),
        ({"probabilities": [0.1]}, "probabilities: expected 2"),
        ({"probabilities": [0.1, 1.2]}, r"probabilities: expected numbers in \[0, 1\]"),
        ({"probabilities": [0.1, float("nan")]}, r"probabilities: expected numbers in \[0, 1\]"),
        ({"image": [PHOTO]}, "image: expected 2"),
        ({"image": PHOTO + 3}, r"image: expected values in \[0, 1\]"),
        ({"outlines": [None]}, "outlines: expected 2"),
        (
            {"costs": {"other": 1}},
            r"costs: expected methods of the maps \(gradient, Occlusion\); got 'other'",
        ),
        ({"over": True}, "over: expected an image"),
        ({"scale": "own"}, "scale: expected one of map, row, column, common; got 'own'"),
        ({"percentile": 0}, "percentile: expected a number"),
        ({"square": 0}, "square: expected an integer of at least 1"),
        ({"square": 3}, "square: expected an integer of at least 1 that divides"),
        ({"maps": {"a": [one[0], one[0] / 0]}}, r"maps\['a'\]: expected finite values"),
        ({"maps": {"a": torch.zeros(2, 1, 1, 4, 4)}}, r"maps\['a'\]: expected maps of one example"),
    ):
        with pytest.raises(ValueError, match=message):
            sheet(**options)


# ---- maps over their image -----------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_the_veil_is_transparent_at_0_and_grows_denser_with_the_magnitude(signed):
    colours = _veil(signed)(np.linspace(0, 1, 257))
    middle = 128 if signed else 0
    assert colours[middle, 3] == 0
    assert (np.diff(colours[middle:, 3]) >= 0).all()
    assert colours[-1, 3] > 0.9
    if signed:
        assert np.allclose(colours[:, 3], colours[::-1, 3])
        assert colours[-1, 0] > 0.6 > 0.3 > colours[-1, 2]  # supports: red
        assert colours[0, 2] > 0.5 > 0.2 > colours[0, 0]  # opposes: blue


def test_an_overlay_lies_over_the_greyed_image():
    saliency = torch.zeros(8, 8)
    saliency[0, 0], saliency[7, 7] = 4.0, -4.0
    figure = laid_over(PHOTO, {"map": saliency}, percentile=100, title="cat")
    image, panel, bar = figure.axes
    assert np.allclose(image.images[0].get_array(), PHOTO.permute(1, 2, 0))
    grey, veil = panel.images
    values = np.asarray(grey.get_array())
    assert values.shape == (8, 8)
    assert values.min() >= PALE[0]
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    assert np.corrcoef(values.reshape(-1), (PHOTO * weights[:, None, None]).sum(0).reshape(-1))[0, 1] > 0.999
    assert veil.get_clim() == (-1, 1)
    assert veil.get_array()[0, 0] == 1
    assert bar.get_ylabel() == "support\n/ the map's largest value"
    assert "cat" in words_of(figure)
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).astype(int)
    frame = panel.get_window_extent()
    top, step = pixels.shape[0] - frame.y1, frame.width / 8

    def colour(row, column):
        return pixels[int(top + (row + 0.5) * step), int(frame.x0 + (column + 0.25) * step)]

    assert colour(0, 0)[0] > colour(0, 0)[2] + 50
    assert colour(7, 7)[2] > colour(7, 7)[0] + 50
    assert np.ptp(colour(3, 3)) <= 1  # 0: the grey image alone


def test_overlays_of_several_maps_share_a_bar_and_may_share_a_scale():
    maps = {"a": torch.eye(8), "layer": 2 * torch.eye(4)}
    figure = laid_over(PHOTO, maps, percentile=100)
    assert [axes.get_title() for axes in panels_of(figure)] == ["image", "a", "layer"]
    assert [axes.images[1].get_array().max() for axes in panels_of(figure)[1:]] == [1, 1]
    common = laid_over(PHOTO, maps, percentile=100, scale="common", signed=False)
    assert [axes.images[1].get_array().max() for axes in panels_of(common)[1:]] == [1, 2]
    assert {axes.images[1].get_clim() for axes in panels_of(common)[1:]} == {(0, 2)}
    assert panels_of(common)[2].images[1].get_extent() == [-0.5, 7.5, 7.5, -0.5]
    over = sheet(image=PHOTO, over=True)
    assert [len(axes.images) for axes in panels_of(over)] == [1, 2, 2, 2, 2]


def test_strongly_negative_regions_carry_a_minus_in_every_resolution():
    def marks(saliency):
        figure = laid_over(torch.zeros(1, 320, 320), {"map": saliency}, percentile=100)
        found = figure.findobj(lambda artist: artist.get_gid() == "negative")
        assert all(isinstance(f, PathCollection) for f in found)
        return [f.get_offsets().tolist() for f in found]

    fine, coarse = torch.ones(320, 320), torch.ones(16, 16)
    fine[:20, 20:40], coarse[0, 1] = -1.0, -1.0
    assert marks(fine) == marks(coarse) == [[[29.5, 9.5]]]
    noise = torch.ones(320, 320)
    noise[::2] = -1.0
    assert marks(noise) == []  # as much red as blue in every square


def test_a_sheet_repeats_itself():
    data = png(sheet(image=PHOTO, over=True), "a sheet")
    assert data == png(sheet(image=PHOTO, over=True), "a sheet")
    assert len(data) < 150_000


def test_maps_over_ink_show_the_ink_below_and_say_what_has_not_arrived():
    image, strong = torch.zeros(1, 8, 8), torch.zeros(8, 8)
    image[..., 3:5] = 1
    strong[2, 2], strong[2, 5] = 2.0, -1.0
    maps = {"flow": strong, "tangent": strong, "layer": torch.ones(4, 2, 2)}
    options = {"unreached": ["tangent"], "notes": {"flow": "33 gradients"}}
    figure = maps_over_ink(image, maps, signed=True, **options)
    _, flow, tangent, layer, bar = figure.axes
    assert [axes.get_title() for axes in figure.axes[:4]] == ["digit", *maps]
    assert [axes.get_xlabel() for axes in (flow, tangent, layer)] == ["33 gradients", "not at its level", ""]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["against", "0", "for"]
    for axes in (flow, tangent, layer):
        ink, over = axes.images
        assert np.ptp(ink.get_array()) == pytest.approx(0.25)
        assert over.get_clim() == (-1, 1)
        assert over.get_extent() == ink.get_extent()
        assert over.get_array().max() >= 1
    colours = [axes.images[1].get_cmap()([-1.0, 1.0]) for axes in (flow, tangent)]
    assert colours[0][0, 2] > colours[0][0, 0]
    assert colours[0][1, 0] > colours[0][1, 2]
    assert np.ptp(colours[1][:, :3]) == 0, "grey"


def test_maps_over_ink_start_at_0_where_nothing_speaks_against():
    figure = maps_over_ink(torch.rand(8, 8), {"flow": torch.tensor([[1.0, -1.0]])})
    over = figure.axes[1].images[1]
    assert over.get_clim() == (0, 1)
    assert over.get_cmap()(over.norm(-1.0))[3] == 0


@pytest.mark.parametrize(
    ("image", "maps", "said"),
    [
        (torch.rand(3, 8, 8), {"flow": torch.ones(8, 8)}, "image: expected one channel"),
        (torch.rand(8, 8), {}, "maps: expected at least one"),
        (torch.rand(8, 8), {"flow": torch.full((8, 8), torch.nan)}, "expected finite values"),
    ],
)
def test_maps_over_ink_refuse_what_they_cannot_draw(image, maps, said):
    with pytest.raises(ValueError, match=said):
        maps_over_ink(image, maps)


def test_a_map_over_its_image_is_bare_at_0_and_hides_the_image_at_the_limit():
    image, saliency = torch.tensor([[0.0, 1.0, 0.5, 0.5]]), torch.tensor([[0.0, 0.0, 2.0, 9.0]])
    over = show_maps.laid_over(image, saliency, limit=2.0)
    assert (over.shape, over.dtype) == ((1, 4, 3), np.uint8)
    assert over[0, :2].tolist() == [[114] * 3, [255] * 3]  # the greyed image: its lightnesses begin at 0.45
    assert (over[0, 2] == over[0, 3]).all()
    assert not np.array_equal(over[0, 2], show_maps.laid_over(image, saliency, limit=90.0)[0, 2])


def test_what_is_below_0_is_blue_where_it_has_a_sign_and_bare_where_it_has_none():
    image, saliency = torch.full((1, 2), 0.5), torch.tensor([[-1.0, 1.0]])
    blue, red = show_maps.laid_over(image, saliency, 1.0, signed=True)[0].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert len(set(show_maps.laid_over(image, saliency, 1.0)[0, 0].tolist())) == 1


@pytest.mark.parametrize(
    ("saliency", "limit", "message"),
    [
        (torch.zeros(2, 3), 1.0, "saliency: expected .*, as the image"),
        (torch.full((2, 2), torch.nan), 1.0, "saliency: expected finite values"),
        (torch.zeros(2, 2), 0.0, "limit: expected a finite number above 0"),
    ],
)
def test_what_cannot_be_laid_over_is_said(saliency, limit, message):
    with pytest.raises(ValueError, match=message):
        show_maps.laid_over(torch.zeros(2, 2), saliency, limit)
