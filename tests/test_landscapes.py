"""What figures of two features show: level lines, paths, tangent planes, and what they refuse."""

import numpy as np
import pytest
import torch
from figures import EXTENT, by_gid, legend_of, ring, ring_figure
from matplotlib.contour import ContourSet

from helpers.show.landscapes import level_panels, score_along


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
