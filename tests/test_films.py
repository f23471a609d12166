"""What a path in frames shows: points, scores, changes, and what it refuses."""

import base64

import matplotlib as mpl
import numpy as np
import pytest
import torch
from figures import moving_frames, opened, panels_of, signed_maps, words_of
from matplotlib.figure import Figure
from torch import nn

from helpers.saliency import Flow, Input, Layer, Logit, NonlinearSaliency, Removal, Straight
from helpers.show import style
from helpers.show.films import _evenly, film_sheet, film_strip, score_path, show_film
from helpers.show.style import number_text, png


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
        ValueError, match=r"explanation: expected a run with its path; call explain\(..., trace"
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
    with pytest.raises(ValueError, match=r"explanations\[''\]: expected a run with its path"):
        score_path(without, Bright(), Logit(), 0)
    with pytest.raises(ValueError, match=r"example: expected an integer in \[0, 2\); got -1"):
        score_path(one, Bright(), Logit(), 0, example=-1)
    with pytest.raises(ValueError, match="paths: expected at least one path"):
        score_path({}, Bright(), Logit(), 0)


def test_films_leave_the_callers_style_alone_and_repeat_themselves():
    before = dict(mpl.rcParams)
    record = straight(3)[1]
    for draw in (lambda: film_strip(record), lambda: score_path(record, Bright(), Logit(), 0)):
        data = png(draw(), "a film")
        assert data == png(draw(), "a film")
        assert opened(data).text["Description"] == "a film"
        assert len(data) < 150_000
    assert dict(mpl.rcParams) == before


def test_a_film_sheet_has_a_row_for_each_path_and_what_is_said_of_its_frames():
    images, record = straight()
    method = NonlinearSaliency(Bright(), Logit(), Input(reference=0.0), path=Straight(8))
    runs = {name: method.explain(images[[k]], 0, trace=True) for k, name in enumerate(("one", "two"))}
    figure = film_sheet(
        runs, {"one": lambda x: x.amax((1, 2, 3)), "two": lambda x: -x.amax((1, 2, 3))}, "largest", 3
    )
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["one", "two"]
    for k, sign in ((0, 1), (1, -1)):
        largest = float(images[k].amax())
        said = [axes.get_xlabel() for axes in figure.axes[3 * k : 3 * k + 3]]
        assert said == [number_text(sign * largest * share) for share in (1, 0.5, 0)]
    np.testing.assert_allclose(
        np.asarray(figure.axes[0].images[0].get_array()).squeeze(), images[0, 0].numpy(), atol=1e-6
    )
    with pytest.raises(ValueError, match="functions: expected one for each of the runs"):
        film_sheet(runs, {"one": lambda x: x})
    with pytest.raises(ValueError, match="functions: .*at least one run"):
        film_sheet({}, {})
    with pytest.raises(ValueError, match="frames: expected an integer of at least 2"):
        film_sheet(runs, dict.fromkeys(runs, lambda x: x.sum((1, 2, 3))), frames=1)


# ---- what moves --------------------------------------------------------------------------------------------


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
