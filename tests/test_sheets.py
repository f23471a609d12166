"""What the sheets show: panels, limits, labels, costs, frames, and what they refuse."""

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from helpers.measure.cost import Cost
from helpers.saliency import Flow, Input, Layer, Logit, NonlinearSaliency, Removal, Straight
from helpers.show.films import _evenly, film_strip, score_path
from helpers.show.maps import PALE, _veil, comparison_sheet, overlay
from helpers.show.style import COLOUR_MAPS, number_text, percent_text, png

PHOTO = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = ["tiger cat", "tabby"]


def maps_of_two():
    ramp = torch.linspace(-1, 1, 64).reshape(1, 8, 8)
    return {"gradient": torch.stack([ramp, 2 * ramp]), "Occlusion": [300 * ramp, torch.zeros(2, 4, 4)]}


def sheet(**options):
    return comparison_sheet(**({"maps": maps_of_two(), "classes": CLASSES} | options))


def drawn(figure, *names):
    """Pictures by the names of their colour maps, in the order of the axes."""
    return [p for axes in figure.axes for p in axes.images if p.get_cmap().name in names]


def signed_maps(figure):
    return drawn(figure, COLOUR_MAPS["signed"].name)


def panels_of(figure):
    return [axes for axes in figure.axes if axes.images]


def words_of(figure):
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()]


# ---- comparison sheet --------------------------------------------------------------------------------------


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


def test_names_and_numbers_in_words():
    values = {0.5: "50 %", 1.0: "100 %", 0.0999: "10 %", 0.034: "3.4 %", 0.00001: "< 0.1 %", 0.0: "0.0 %"}
    assert {p: percent_text(p) for p in values} == values
    numbers = {-16.797: "−16.8", 1234.5: "1234", -1e-6: "0.00", 0.0: "0.00", 2.0: "2.00", 0.0123: "0.0123"}
    assert {v: number_text(v) for v in numbers} == numbers
    assert (number_text(float("nan")), number_text(float("inf"))) == ("–", "infinite")


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


# ---- overlay -----------------------------------------------------------------------------------------------


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
    figure = overlay(PHOTO, saliency, percentile=100, title="cat")
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
    figure = overlay(PHOTO, maps, percentile=100)
    assert [axes.get_title() for axes in panels_of(figure)] == ["image", "a", "layer"]
    assert [axes.images[1].get_array().max() for axes in panels_of(figure)[1:]] == [1, 1]
    common = overlay(PHOTO, maps, percentile=100, scale="common", signed=False)
    assert [axes.images[1].get_array().max() for axes in panels_of(common)[1:]] == [1, 2]
    assert {axes.images[1].get_clim() for axes in panels_of(common)[1:]} == {(0, 2)}
    assert panels_of(common)[2].images[1].get_extent() == [-0.5, 7.5, 7.5, -0.5]
    with pytest.raises(ValueError, match="maps: expected at least one map"):
        overlay(PHOTO, {})
    over = sheet(image=PHOTO, over=True)
    assert [len(axes.images) for axes in panels_of(over)] == [1, 2, 2, 2, 2]


def test_strongly_negative_regions_carry_a_minus_in_every_resolution():
    def marks(saliency):
        figure = overlay(torch.zeros(1, 320, 320), saliency, percentile=100)
        found = figure.findobj(lambda artist: artist.get_gid() == "negative")
        assert all(isinstance(f, PathCollection) for f in found)
        return [f.get_offsets().tolist() for f in found]

    fine, coarse = torch.ones(320, 320), torch.ones(16, 16)
    fine[:20, 20:40], coarse[0, 1] = -1.0, -1.0
    assert marks(fine) == marks(coarse) == [[[29.5, 9.5]]]
    noise = torch.ones(320, 320)
    noise[::2] = -1.0
    assert marks(noise) == []  # as much red as blue in every square


# ---- one path ----------------------------------------------------------------------------------------------


class Bright(nn.Module):
    """Logits (N, 2): the sum of the squares, and its negative."""

    def forward(self, images):
        total = images.square().flatten(1).sum(1)
        return torch.stack([total, -total], 1)


def straight(channels=1, steps=8, **options):
    images = torch.rand(2, channels, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = NonlinearSaliency(Bright(), Logit(), Input(reference=0.0), path=Straight(steps))
    return images, method.explain(images, 0, trace=True, **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_film_strip_shows_the_points_of_the_path_and_their_scores(channels):
    images, record = straight(channels)
    options = {"frames": 5, "score_name": "logit", "title": "to black", "percentile": 100}
    figure = film_strip(record, 1, function=lambda points: Bright()(points)[:, 0], **options)
    frames = figure.axes[:5]
    start = float(images[1].square().sum())
    # even steps: the sum of squares falls with the square of what is left
    assert [f.get_xlabel() for f in frames] == [number_text(start * (1 - k / 4) ** 2) for k in range(5)]
    assert [f.get_title() for f in frames] == ["input", "", "", "", "end: level\nreached"]
    assert frames[0].get_ylabel() == "logit:"
    for k, axes in enumerate(frames):
        expected = images[1] * (1 - k / 4)
        expected = expected[0] if channels == 1 else expected.permute(1, 2, 0)
        assert np.allclose(axes.images[0].get_array(), expected)
    assert "to black" in words_of(figure)
    changes = signed_maps(figure)
    assert len(changes) == 4
    assert np.allclose(changes[-1].get_array(), -images[1].sum(0))
    assert len({m.get_clim() for m in changes}) == 1
    assert changes[0].get_clim()[1] == pytest.approx(float(images[1].sum(0).max()))
    assert figure.axes[-1].get_ylabel() == "change"
    # a straight path knows the score at its ends only
    known = [f.get_xlabel() for f in film_strip(record, 1, **options).axes[:5]]
    assert known == [number_text(start), "–", "–", "–", "0.00"]


def test_a_film_strip_shows_the_scores_that_a_flow_recorded():
    images = straight()[0]
    record = NonlinearSaliency(Bright(), Logit(), path=Flow(4)).explain(images, 0, level=1.0, trace=True)
    figure = film_strip(record, frames=100)
    way = record.path_points[:, 0].flatten(1)
    moved = [0, *[t for t in range(1, len(way)) if (way[t] != way[t - 1]).any()]]
    assert [axes.get_xlabel() for axes in figure.axes[: len(moved)]] == [
        number_text(float(value)) for value in record.path_scores[moved, 0]
    ]
    assert figure.axes[len(moved) - 1].get_xlabel() == "1.00"


def test_a_film_strip_without_changes_has_one_row_and_its_own_end():
    figure = film_strip(straight()[1], frames=3, changes=False, end_name="the reference")
    assert [axes.get_title() for axes in figure.axes] == ["input", "", "the reference"]


def test_a_film_says_when_the_level_was_not_reached_and_when_values_are_cut():
    images, missed = straight(level=-5.0)
    assert panels_of(film_strip(missed))[5].get_title() == "end: level\nnot reached"
    assert not any("drawn as 0 or 1" in word for word in words_of(film_strip(missed)))
    rising = NonlinearSaliency(Bright(), Logit(), Input(), path=Flow(4))
    beyond = rising.explain(images, 0, level=100.0, trace=True)
    figure = film_strip(beyond, title="rise")
    assert "rise\n(values beyond [0, 1] are drawn as 0 or 1)" in words_of(figure)
    half = film_strip(beyond, to_image=lambda points: points / 10)
    assert np.allclose(half.axes[0].images[0].get_array(), images[0, 0] / 10)
    assert not any("drawn as 0 or 1" in word for word in words_of(half))


def test_frames_are_even_along_the_path_and_none_comes_twice():
    places = torch.tensor([0.0, 0.1, 0.2, 5.0, 9.9, 10.0, 10.0, 10.0])[:, None]
    assert _evenly(places, 3) == [0, 3, 5]
    assert _evenly(places, 8) == [0, 3, 4, 5] or set(_evenly(places, 8)) <= {0, 1, 2, 3, 4, 5}
    assert _evenly(places, 2) == [0, 5]
    assert _evenly(torch.ones(4, 2), 3) == [0]
    resting = straight(level=float(straight()[1].score_start[0]))[1]
    figure = film_strip(resting)
    assert len(panels_of(figure)) == 1


def test_film_strips_refuse_what_is_no_film():
    images, record = straight()
    with pytest.raises(
        ValueError, match=r"explanation: expected one with its path; call explain\(..., trace"
    ):
        film_strip(NonlinearSaliency(Bright(), Logit(), path=Flow(2)).explain(images, 0, level=1.0))
    with pytest.raises(ValueError, match=r"example: expected an integer in \[0, 2\); got 2"):
        film_strip(record, 2)
    with pytest.raises(ValueError, match="frames: expected an integer of at least 2; got 1"):
        film_strip(record, frames=1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(48, 2)).double()
    layer = NonlinearSaliency(model, Logit(), Layer(model[0], Removal(0.0)), path=Straight(2))
    with pytest.raises(ValueError, match=r"\(3, 2, 4, 4, 3\). A path at a layer is no film"):
        film_strip(layer.explain(images, 0, trace=True))


def test_the_score_along_a_path_stands_beside_what_the_tangent_predicts():
    images, record = straight()
    figure = score_path({"straight": record}, Bright(), Logit(), 0, example=1, score_name="logit")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_ylabel()) == ("straight", "logit")
    score, tangent, level, dots = axes.lines
    length = float(images[1].norm())
    there = np.asarray(score.get_xdata())
    assert there[-1] == pytest.approx(length)
    assert np.allclose(score.get_ydata(), (length - there) ** 2)
    assert np.allclose(tangent.get_ydata(), length**2 - 2 * length * there)
    assert list(level.get_ydata()) == pytest.approx([0, 0])
    assert np.allclose(dots.get_ydata(), Bright()(record.path_points[:, 1])[:, 0])
    assert len(dots.get_xdata()) == 9
    share = score_path(record, Bright(), Logit(), 0, against="share").axes[0]
    assert share.lines[-1].get_xdata()[-1] == pytest.approx(1)
    custom = score_path(record, Bright(), lambda outputs: outputs[:, 0]).axes[0]
    assert np.allclose(custom.lines[-1].get_ydata(), Bright()(record.path_points[:, 0])[:, 0])


def test_a_level_is_drawn_where_it_is_one_for_all_paths():
    one, other = straight(level=1.0)[1], straight(level=2.0)[1]
    labels = score_path({"a": one, "b": one}, Bright(), Logit(), 0).axes[0].get_legend().get_texts()
    assert [t.get_text() for t in labels] == ["score", "tangent predicts", "level 1"]
    labels = score_path({"a": one, "b": other}, Bright(), Logit(), 0).axes[0].get_legend().get_texts()
    assert [t.get_text() for t in labels] == ["score", "tangent predicts"]
    images = straight()[0]
    without = NonlinearSaliency(Bright(), Logit(), path=Flow(2)).explain(images, 0, level=1.0)
    with pytest.raises(ValueError, match="explanations: expected runs with their path"):
        score_path(without, Bright(), Logit(), 0)
    with pytest.raises(ValueError, match=r"example: expected an integer in \[0, 2\); got -1"):
        score_path(one, Bright(), Logit(), 0, example=-1)
    with pytest.raises(ValueError, match="paths: expected at least one path"):
        score_path({}, Bright(), Logit(), 0)


# ---- style -------------------------------------------------------------------------------------------------


def test_sheets_leave_the_callers_style_alone_and_repeat_themselves():
    before = dict(mpl.rcParams)
    record = straight(3)[1]
    for draw in (
        lambda: sheet(image=PHOTO, over=True),
        lambda: overlay(PHOTO, torch.eye(8)),
        lambda: film_strip(record),
        lambda: score_path(record, Bright(), Logit(), 0),
    ):
        data = png(draw(), "a sheet")
        assert data == png(draw(), "a sheet")
        assert Image.open(io.BytesIO(data)).text["Description"] == "a sheet"
        assert len(data) < 150_000
    assert dict(mpl.rcParams) == before
