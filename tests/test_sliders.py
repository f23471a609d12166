"""What the small panels draw, from one end of their sliders to the other, and that they are in their notebooks."""

import dataclasses
import re
from functools import partial
from pathlib import Path

import ipywidgets
import pytest
import torch

from helpers.files import FRAMES
from helpers.lessons import sliders
from helpers.lessons.sliders import (
    AtEveryDepth,
    flow_in_steps,
    flow_in_units,
    one_feature_moved,
    part_of_the_way,
    tangent_misses,
)
from helpers.run import notebook_files
from helpers.saliency import Flow, Logit, NonlinearSaliency, Scaled
from helpers.show.live import live
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net
from helpers.zoo.toys import toys

TOYS = toys()
FLAT = [name for name, toy in TOYS.items() if toy.extent]
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
EXTENT = (-1.5, 1.5, -1.5, 1.5)


def ring(points):
    return points.square().sum(1) - 1


def place(*values):
    return torch.tensor([values], dtype=torch.float64)


def labelled(figure) -> bool:
    """Axes on the left say both what is across and what is up; those that share theirs, what is across."""
    drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert drawn
    bars = [axes for axes in figure.axes if axes not in drawn]
    return (
        all(axes.get_xlabel() for axes in drawn)
        and bool(drawn[0].get_ylabel())
        and all(axes.get_ylabel() for axes in bars)
    )


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("way", [0.02, 0.5, 1.0])
def test_part_of_the_way_tells_the_misses(name, way):
    figure = part_of_the_way(TOYS[name], way)
    assert labelled(figure)
    told = [int(value) for value in re.findall(r"(\d+) %", figure.get_suptitle())]
    assert told == [pytest.approx(100 * miss, abs=0.51) for miss in tangent_misses(TOYS[name], way)]


def test_misses_are_those_of_the_formula():
    # Ring: f = |x|^2 - 1, its tangent step is u = (l - f) G / (G . G) with G = 2 x; the reference is the centre.
    toy = TOYS["ring"]
    x, start = toy.point, toy.function(toy.point).item()
    asked = toy.level - start
    after = toy.function(x + asked * 2 * x / (4 * x.square().sum())).item()
    own, there = tangent_misses(toy, 1.0)
    assert own == pytest.approx(abs(after - toy.level) / abs(asked))
    reached = x * ((toy.level + 1) / x.square().sum()).sqrt()
    plane = start + (2 * x * (reached - x)).sum().item()
    assert there == pytest.approx(abs(plane - toy.level) / abs(asked), rel=1e-3)


def test_what_is_flat_stays_missed_and_what_is_smooth_does_not():
    assert tangent_misses(TOYS["saturated sum"], 0.01)[1] == pytest.approx(1.0)
    assert tangent_misses(TOYS["ring"], 0.01)[1] < 0.01


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("steps", [1, 8, 64])
def test_flow_in_steps_tells_the_record(name, steps):
    toy = TOYS[name]
    figure = flow_in_steps(toy, steps)
    assert labelled(figure)
    run = NonlinearSaliency(toy.function, Logit(), path=Flow(steps)).explain(toy.point, level=toy.level)
    title = figure.get_suptitle()
    assert f"{int(run.gradient_evaluations)} gradients" in title
    told = title.partition("not converged: ")[2]
    assert told == ("" if run.converged else run.reason[0])


def test_more_steps_leave_less_of_the_completeness_error():
    errors = [
        float(re.search(r"completeness error (\S+),", flow_in_steps(TOYS["ring"], steps).get_suptitle())[1])
        for steps in (2, 8, 32)
    ]
    assert abs(errors[0]) > abs(errors[1]) > abs(errors[2])


def test_flow_in_units_turns_towards_what_is_cheap():
    shares = {}
    for stretch in (0.25, 1.0, 4.0):
        figure = flow_in_units(ring, place(0.9, 0.8), stretch, EXTENT)
        assert labelled(figure)
        euclidean, scaled = figure.get_suptitle().splitlines()[1:]
        shares[stretch] = float(re.search(r"x2 brings (\S+)", scaled)[1])
        if stretch == 1:
            assert euclidean.partition(":")[2] == scaled.partition(":")[2]
    assert shares[4.0] < shares[1.0] < shares[0.25] <= 0


@pytest.mark.parametrize("stretch", [0.25, 3.0])
def test_flow_in_units_tells_the_contributions_of_the_library(stretch):
    geometry = Scaled(torch.tensor([1.0, stretch], dtype=torch.float64))
    member = NonlinearSaliency(lambda x: ring(x)[:, None], Logit(), geometry=geometry, path=Flow(16))
    run = member.explain(place(0.9, 0.8), level=0.0)
    scaled = flow_in_units(ring, place(0.9, 0.8), stretch, EXTENT).get_suptitle().splitlines()[2]
    told = [float(value) for value in re.findall(r"brings (-?[\d.]+)", scaled)]
    assert told == pytest.approx(run.contribution[0].tolist(), abs=0.0051)
    assert sum(told) == pytest.approx(-ring(place(0.9, 0.8)).item(), abs=0.02)


@pytest.mark.parametrize("change", [-2.0, 0.0, 2.0])
def test_one_feature_moved_tells_model_and_tangent(change):
    figure = one_feature_moved(ring, place(0.5, 1.0), ["a", "b"], "b", change, reach=2.0)
    assert labelled(figure)
    told = [float(value) for value in re.findall(r"(?:odds|promised) (-?[\d.]+\d)", figure.get_suptitle())]
    assert told == [pytest.approx(0.25 + (1 + change) ** 2 - 1), pytest.approx(0.25 + 2 * change)]


@pytest.fixture(scope="module")
def film():
    torch.manual_seed(0)
    model = digit_net()
    image = mnist5k().test_inputs[[5]]
    return AtEveryDepth(model, image, int(model(image).argmax()), 0.0, 64, {"features": model.features})


def test_at_every_depth_adds_up_and_is_kept(film):
    with torch.no_grad():
        change = (
            film.model(film.image)[0, film.target] - film.model(torch.zeros_like(film.image))[0, film.target]
        )
    for depth in (0, 1):
        maps = film.maps(depth)
        assert film.maps(depth) is maps, "computed once"
        assert maps["nonlinear"].sum().item() == pytest.approx(change.item(), rel=0.05)
        missed = abs(maps["linear"].sum().item() - change.item()) / abs(change.item())
        misses = film.missed(depth)
        assert misses["linear"] == pytest.approx(missed, rel=1e-3, abs=1e-5)
        assert misses["nonlinear"] < 0.05
        told = f"slope {misses['linear']:.2f}, path {misses['nonlinear']:.2f}"
        assert told in film.draw(depth).get_suptitle()
    assert film.maps(0)["linear"].shape == (28, 28)
    assert film.maps(1)["linear"].shape == (7, 7)


def test_the_linear_map_is_the_gradient_times_the_way_from_the_reference(film):
    image = film.image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(film.model(image)[0, film.target], image)
    expected = (gradient * film.image)[0].sum(0)
    torch.testing.assert_close(film.maps(0)["linear"], expected, rtol=1e-4, atol=1e-5)


def test_few_steps_miss_more_and_the_title_says_so(film):
    coarse = dataclasses.replace(film, steps=1)
    assert coarse.missed(0)["nonlinear"] > 2 * film.missed(0)["nonlinear"]
    assert f"path {coarse.missed(0)['nonlinear']:.2f}" in coarse.draw(0).get_suptitle()


def test_a_slider_goes_through_the_depths(film):
    panel = live(film.draw, depth=ipywidgets.IntSlider(1, min=0, max=len(film.names) - 1))
    last = panel.picture.png
    panel.controls["depth"].value = 0
    assert panel.error is None
    assert panel.picture.png != last
    assert panel.picture.alt.startswith("depth 0 of 1: 28 x 28 places")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: part_of_the_way(TOYS["ring"], 0.0), "way: expected a finite number above 0"),
        (lambda: flow_in_steps(TOYS["XOR network"], 4), "toy: expected one with two features"),
        (lambda: flow_in_steps(TOYS["ring"], 0), "steps"),
        (lambda: flow_in_units(ring, place(1.0, 1.0), -1.0, EXTENT), "stretch: expected"),
        (
            lambda: one_feature_moved(ring, place(1.0, 1.0), ["a", "b"], "c", 0.0),
            "feature: expected one of a, b",
        ),
        (lambda: one_feature_moved(ring, place(1.0, 1.0), ["a", "b"], "a", 9.0), "change: expected -4 to 4"),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_depth_that_is_not_there_is_said(film):
    with pytest.raises(ValueError, match="depth: expected an integer from 0 to 1; got 2"):
        film.draw(2)


def test_a_slider_moves_the_picture():
    panel = live(partial(part_of_the_way, TOYS["ring"]), way=ipywidgets.FloatSlider(1.0, min=0.0, max=1.0))
    before = panel.picture.png
    panel.controls["way"].value = 0.2
    assert panel.error is None
    assert panel.picture.png != before
    assert panel.picture.alt.startswith("ring: from ")
    panel.controls["way"].value = 0.0
    assert "expected a finite number above 0" in panel.status.value


@pytest.mark.parametrize("number", ["02", "03", "05", "06", "08"])
def test_the_panel_is_in_its_notebook_with_pictures_for_those_without_a_kernel(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell for cell in notebook_files.read(path).cells if cell.cell_type == "code"]
    panels = [k for k, cell in enumerate(cells) if "live(" in cell.source and cell.source.endswith("\npanel")]
    assert len(panels) == 1
    kept = [output.data[FRAMES] for output in cells[panels[0]].outputs if FRAMES in output.get("data", {})]
    if kept:  # pictures of several values, which a page shows in the panel's place
        assert len(kept[0]["pictures"]) >= 2
        assert all(picture["alt"] for picture in kept[0]["pictures"])
        return
    before = cells[panels[0] - 1].source
    assert re.search(r"^show\(", before, re.MULTILINE)
    drawn = {name for name in dir(sliders) if not name.startswith("_")} | {"film.draw"}
    assert any(f"{name}(" in before and name in cells[panels[0]].source for name in drawn)
