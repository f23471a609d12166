"""Every committed notebook: its form, and its numbers with other parameters.

nbval runs every cell of the walk with the committed parameters (pyproject.toml, testpaths). Here: the form of
the files, the walk with a quick and with a different set of parameters, and the solutions, through papermill.
"""

import ast
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from helpers.run import notebook_files
from helpers.run.execute import RunResult, run_notebook
from helpers.run.form import check_form
from helpers.run.notebook_files import Notebook
from helpers.run.parameters import is_parameters
from helpers.run.records import recorded

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WALK = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
CODE_LINES = 25


@dataclass(frozen=True)
class Case:
    """Parameters to run a notebook with, and what it must then put on record.

    numbers: name -> the value itself (text, truth value, whole number), or (lowest, highest) if measured.
    """

    parameters: dict
    numbers: dict


# Small sets that show that the notebook still works: a fraction of the defaults' time.
QUICK: dict[str, Case] = {
    "00_index": Case(
        {"steps": 8},
        {"toy_miss": (0.37, 0.39), "toy_arrived": True, "digit_class": 0, "digit_miss": (0.53, 0.55)},
    ),
    "01_linear_saliency": Case(
        {"largest": 4},
        {"affine_exact": True, "explained_class": 4, "log_odds_miss": (0.135, 0.14), "c1_first_half": True},
    ),
    "02_off_on_a_tangent": Case(
        {"draws": 100},
        {"toys": 9, "linear_right": 2, "one_at_a_time_found": 7, "random_found": (3.4, 4.6)},
    ),
    "03_nonlinear_saliency": Case(
        {"hand_steps": 50, "steps": 24},
        {
            "by_hand_agrees": True,
            "affine_agreement_1e_9": True,
            "integrated_gradients_1e_6": True,
            "smallest_first_order_slope": (0.96, 0.99),
            "order_on_smooth_scores": (1.95, 2.05),
            "found_by_linear": 2,
            "found_by_straight": 9,
            "found_by_flow": 5,
        },
    ),
    "04_digits": Case(
        {
            "shown": [0],
            "flow_steps": 4,
            "straight_steps": 8,
            "checked": 10,
            "grid_count": 4,
            "widths": [0.0, 2.0],
        },
        {
            "accuracy": (0.97, 1.0),
            "blank_class": 1,
            "tangent_median_miss": (0.18, 0.19),
            "flow_at_the_level": (0.999, 1.0),
            "grids": 4,
            "auc_oracle": (0.60, 0.61),
            "auc_straight": (0.508, 0.518),
            "auc_straight_smoothed": (0.64, 0.665),
            "right_cell_straight": (0.6, 0.8),
        },
    ),
    "05_the_class": Case(
        {"steps": 8},
        {
            "known_methods_1e_9": True,
            "idgi_error_ratio": (3.8, 4.2),
            "logit_change": (0.1, 0.5),
            "digit_class": 9,
            "ring_two_starts": (0.899, 0.901),
            "ring_six_starts": (0.619, 0.621),
        },
    ),
    "06_tabular": Case(
        {"patients": [10], "steps": 64, "draws": 100},
        {
            "accuracy": (0.94, 0.97),
            "directions": 10,
            "tangent_miss_covariance": (0.97, 1.03),
            "flow_arrived": (0.97, 1.0),
            "off_data_scaled": (0.45, 0.65),
            "off_data_covariance": (0.04, 0.11),
            "moves_straight": (4.6, 5.3),
            "moves_linear": (8.5, 10.5),
            "disagreement_grows": 6,
        },
    ),
    "07_digits_in_depth": Case(
        {
            "flow_steps": 6,
            "sampled": 4,
            "pairs": 1,
            "checked": 2,
            "draws": 1,
            "shared": 3,
            "shuffled": 100,
            "witness_epochs": 1,
        },
        {
            "accuracy": (0.987, 0.989),
            "questions": "why 4, why not 9",
            "ink_gone": (0.086, 0.090),
            "added_off_ink": (0.76, 0.80),
            "at_the_level_covariance_up": (0.99, 1.0),
            "margin_is_antisymmetric": True,
            "edges_random": (0.999, 1.001),
            "overlap_integrated_gradients": (0.60, 0.67),
        },
    ),
    "08_photographs": Case(
        {
            "quick": True,
            "ranks": [1, 2],
            "side": 160,
            "more_photos": ["coffee"],
            "mosaics": ["chelsea", "coffee", "camera", "motorcycle"],
            "mosaic_side": 64,
            "noise_samples": 2,
            "curve_steps": 2,
            "draws": 200,
        },
        {
            "top_class": "Egyptian cat",
            "mosaics": 1,
            "depths": 17,
            "tangent_residual": (0.95, 1.03),
            "auc_nonlinear": (0.90, 0.98),
            "auc_linear": (0.86, 0.97),
            "largest_gain": (0.16, 0.19),
        },
    ),
    "09_scoreboard": Case(
        {"recompute": 4, "draws": 500},
        {
            "digits_others": (0.95, 1.0),
            "photographs_others": (0.95, 1.0),
            "gain_follows_residual": (0.2, 0.6),
            "share_of_occlusion": (0.1, 0.3334),
            "affine_agreement": True,
            "recomputed": 4,
            "faithful_first": 0,
            "faithful_second": 6,
        },
    ),
    "10_playground": Case(
        {
            "data": "photo",
            "photo": "coffee",
            "side": 128,
            "path": "straight",
            "level": "all the way",
            "reference": "blurred",
            "steps": 4,
        },
        {
            "explained": "espresso",
            "score_start": (2.4, 2.6),
            "missed": (2.5, 2.8),
            "agreement": (0.50, 0.56),
            "same_map_from_code": True,
            "runner_up": 4,
            "paths_arrived": 3,
        },
    ),
    "11_your_model": Case(
        {
            "limit": 6,
            "side": 128,
            "method": "flow",
            "steps": 8,
            "shown": 1,
            "checked": 3,
            "grid_count": 1,
            "smoothing": 4.0,
            "confidence": 0.05,
        },
        {
            "classes": 1000,
            "maps": 6,
            "skipped": 0,
            "computed_again": 0,
            "converged": (0.99, 1.0),
            "grids": 1,
            "kept_by_gradient": (0.17, 0.20),
            "kept_with_random_weights": (0.27, 0.37),
            "auc": (0.53, 0.59),
            "auc_gradient": (0.52, 0.54),
        },
    ),
}

# Deliberately other sets: other data, class, score or level, not only another size.
DIFFERENT: dict[str, Case] = {
    "00_index": Case(
        {"point": [0.3, 1.0], "image": 15},
        {"toy_miss": (0.75, 0.78), "toy_arrived": True, "digit_class": 0, "digit_miss": (0.16, 0.18)},
    ),
    "01_linear_saliency": Case(
        {"seed": 1, "patient": 6, "digit": 3, "regularisation": 10.0},
        {
            "affine_exact": True,
            "explained_class": 2,
            "patient_score": (-20.8, -20.7),
            "log_odds_miss_largest": (0.25, 0.26),
            "order_of_error": (1.95, 2.05),
        },
    ),
    "02_off_on_a_tangent": Case(
        {"way": 0.25, "seed": 1},
        {
            "gradient_found": 4,
            "linear_right": 4,
            "one_at_a_time_found": 9,
            "largest_miss_right": (0.51, 0.52),
            "smallest_miss_wrong": (0.86, 0.87),
            "auc_own_step": (0.39, 0.41),
        },
    ),
    "03_nonlinear_saliency": Case(
        {
            "hand_toy": "kernel machine",
            "readout": "mean_gradient",
            "smooth_toys": ["kernel machine"],
            "digit": 7,
            "rival": 9,
            "seed": 1,
        },
        {
            "by_hand_agrees": True,
            "affine_agreement_1e_9": True,
            # the straight path's first place at the level is on a far branch
            "smallest_first_order_slope": (0.0, 0.1),
            "found_by_straight": 8,
            "tangent_residual": (0.24, 0.245),
        },
    ),
    "04_digits": Case(
        {
            "score_name": "margin",
            "shown": [7, 235],
            "flow_steps": 6,
            "straight_steps": 12,
            "checked": 20,
            "grid_count": 6,
            "drop": 5.0,
            "widths": [2.0],
            "seed": 3,
        },
        {
            "tangent_median_miss": (0.10, 0.115),
            "flow_at_the_level": (0.949, 1.0),
            "grids": 6,
            "auc_oracle": (0.96, 0.98),
            "auc_straight": (0.63, 0.655),
            "auc_flow_down": (0.57, 0.60),
        },
    ),
    "05_the_class": Case(
        {
            "point": [1.0, 0.45],
            "image": 5,
            "box_edge": 1.05,
            "widths": [2.0],
            "noise": 0.1,
            "ring_stretch": 2.5,
            "seed": 1,
        },
        {
            "known_methods_1e_9": True,
            "digit_class": 0,
            "ring_two_starts": (0.899, 0.901),
            "ring_six_starts": (0.397, 0.398),
        },
    ),
    "06_tabular": Case(
        {
            "dataset": "wine",
            "model": "kernel machine",
            "patients": [5, 20],
            "steps": 48,
            "largest": 4,
            "draws": 200,
            "seed": 1,
        },
        {
            "accuracy": (0.97, 1.0),
            "directions": 10,
            "tangent_miss_covariance": (0.15, 0.20),
            "flow_arrived": (0.97, 1.0),
            "moves_straight": (1.9, 2.05),
            "moves_greedy": (1.5, 1.6),
            "last_class_agreement": (0.45, 0.65),
        },
    ),
    "07_digits_in_depth": Case(
        {
            "image": 592,
            "beyond": 1.0,
            "flow_steps": 8,
            "sampled": 6,
            "pairs": 2,
            "checked": 3,
            "draws": 2,
            "shared": 4,
            "shuffled": 120,
            "witness_epochs": 1,
            "seed": 1,
        },
        {
            "questions": "why 5, why not 3",
            "ink_gone": (0.049, 0.054),
            "added_off_ink": (0.71, 0.76),
            "edges_random": (0.999, 1.001),
            "overlap_integrated_gradients": (0.61, 0.67),
            "overlap_grad_cam": (0.0, 0.08),
        },
    ),
    "08_photographs": Case(
        {
            "photo": "motorcycle",
            "ranks": [1, 3],
            "side": 192,
            "more_photos": ["china"],
            "mosaics": ["motorcycle", "flower", "coffee", "chelsea"],
            "mosaic_side": 96,
            "noise_samples": 4,
            "curve_steps": 6,
            "quick": True,
            "draws": 500,
            "seed": 1,
        },
        {
            "top_class": "moped",
            "mosaics": 1,
            "depths": 17,
            "tangent_residual": (1.1, 1.3),
            "auc_nonlinear": (0.90, 0.98),
            "auc_linear": (0.86, 0.97),
            "largest_gain": (0.23, 0.27),
        },
    ),
    "09_scoreboard": Case(
        {"task": "digits", "recompute": 6, "margin": 0.0, "draws": 500, "seed": 1},
        {"c5_cases_held": 3, "affine_agreement": True, "recomputed": 6},
    ),
    "10_playground": Case(
        {
            "image": 5,
            "target": 9,
            "score": "margin",
            "coordinates": "bounded",
            "path": "nearest",
            "level": "drop",
            "amount": -3.0,
            "readout": "displacement",
            "steps": 24,
        },
        {
            "explained": "9",
            "score_start": (-14.1, -14.0),
            "missed": (0.70, 0.74),
            "agreement": (0.79, 0.83),
            "same_map_from_code": True,
            "cosine_last_stage": (0.99, 1.0),
            "off_strokes_bounded": (0.76, 0.80),
        },
    ),
    "11_your_model": Case(
        {
            "model_name": "random:resnet18",
            "side": 64,
            "mean": [0.5],
            "std": [0.25],
            "class_names": "imagenet",
            "method": "straight",
            "steps": 8,
            "limit": 6,
            "batch_size": 3,
            "shown": 2,
            "checked": 3,
            "seed": 1,
        },
        {
            "classes": 1000,
            "maps": 6,
            "computed_again": 0,
            "grids": 0,
            "kept_by_gradient": (0.84, 0.90),
            "kept_with_random_weights": (0.14, 0.22),
        },
    ),
}

walk = pytest.mark.parametrize("path", WALK, ids=[path.stem for path in WALK])
solutions = pytest.mark.parametrize("path", SOLUTIONS, ids=[path.stem for path in SOLUTIONS])
committed = pytest.mark.parametrize(
    "path", WALK + SOLUTIONS, ids=[str(path.relative_to(FOLDER)) for path in WALK + SOLUTIONS]
)


def code(path: Path) -> list:
    return [cell for cell in notebook_files.read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(
        cell.source for cell in notebook_files.read(path).cells if cell.cell_type == "markdown"
    )


def links(text: str) -> list[str]:
    """Targets of links and pictures, those in code left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def tree(source: str) -> ast.Module:
    """The syntax tree of a cell, magics and all."""
    return ast.parse(TransformerManager().transform_cell(source))


# ---- the walk as a whole -----------------------------------------------------------------------------------


def test_the_walk_is_there_and_numbered_without_a_gap():
    assert WALK, f"no notebooks in {FOLDER.name}/: nothing below tests anything"
    assert [path.name[:3] for path in WALK] == [f"{number:02d}_" for number in range(len(WALK))]


def test_solutions_are_there():
    solved = {path.name[:2] for path in SOLUTIONS}
    asked = {path.name[:2] for path in WALK if re.search(r"^#+ Exercises", prose(path), re.M)}
    assert asked, "no notebook has a heading 'Exercises'"
    assert asked == solved, "each notebook with exercises has its solutions/NN_*.ipynb, and no other has"


def test_every_case_belongs_to_a_notebook():
    known = {path.stem for path in WALK}
    assert set(QUICK) <= known
    assert set(DIFFERENT) <= known


# ---- form --------------------------------------------------------------------------------------------------


@committed
def test_file_is_in_normal_form(path):
    assert check_form(path) == []


@committed
def test_all_code_was_executed_once_in_order(path):
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))
    assert any(cell.outputs for cell in code(path)), "no outputs at all: make notebooks"


@walk
def test_parameters_stand_in_the_second_code_cell_one_a_line_with_help(path):
    tagged = [place for place, cell in enumerate(code(path), start=1) if is_parameters(cell)]
    assert tagged == [2], f"the second code cell, and only it, is tagged 'parameters'; tagged: {tagged}"
    for line in code(path)[1].source.splitlines():
        assert re.fullmatch(r"[a-z]\w* = \S.*?  # \S.*", line), f"expected name = value  # help, got {line!r}"
    assert Notebook.read(path).parameters, "no parameters"


@walk
def test_every_parameter_is_used(path):
    names = {
        node.id
        for cell in code(path)
        for node in ast.walk(tree(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert set(Notebook.read(path).parameters) <= names, "a parameter that nothing reads changes nothing"


def link_line(path: Path) -> str:
    """What stands below the title and at the end: the notebook before, the index, the next one."""

    def link(other: Path, text: str) -> str:
        return (
            f"[{text.format(re.match(r'# ([^:]+)', head(other))[1].replace(' ·', '').strip())}]({other.name})"
        )

    place = WALK.index(path)
    before = [link(WALK[place - 1], "← {}")] if place > 1 else []
    index = [link(WALK[0], "index")] if place else []
    after = [link(other, "{} →") for other in WALK[place + 1 : place + 2]]
    return " · ".join(before + index + after)


def head(path: Path) -> str:
    return notebook_files.read(path).cells[0].source


@walk
def test_head_has_title_links_the_question_left_open_and_what_to_expect(path):
    title, line, rest = head(path).split("\n\n", 2)
    assert re.fullmatch(rf"# {path.name[:2]} · \S.*", title)
    assert line == link_line(path)
    opening, learn, expect = rest.partition("**You will learn**")
    assert learn
    assert "?" in opening, "each notebook opens with the question that the one before it left"
    assert re.search(r"\*\*You need\*\* .*\*\*Run time\*\* about \d+ seconds on two cores\.", expect, re.S)


@walk
def test_foot_has_the_links_of_the_head(path):
    last = [cell.source for cell in notebook_files.read(path).cells if cell.cell_type == "markdown"][-1]
    assert last.endswith("\n\n" + link_line(path))


@committed
def test_links_between_files_lead_somewhere(path):
    for link in links(prose(path)):
        if not re.match(r"[a-z]+:|#|attachment:", link):
            target = path.parent / unquote(link.partition("#")[0])
            assert target.exists(), f"{link}: no such file"


@committed
def test_code_uses_only_what_helpers_makes_public(path):
    for cell in code(path):
        for node in ast.walk(tree(cell.source)):
            names = [node.attr] if isinstance(node, ast.Attribute) else []
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            parts = [part for name in names for part in name.split(".")]
            private = [part for part in parts if part.startswith("_") and not part.startswith("__")]
            assert not private, f"private name {private[0]} in:\n{cell.source}"


@committed
def test_cells_are_short(path):
    for cell in code(path):
        if is_parameters(cell):
            continue  # one line a parameter, as many as there are
        lines = [
            line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")
        ]
        assert len(lines) <= CODE_LINES, (
            f"{len(lines)} lines of code; what is longer belongs in helpers:\n{cell.source}"
        )


@committed
def test_every_figure_has_a_text_for_those_who_cannot_see_it(path):
    for cell in code(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert alt.strip(), f"no alt text (helpers.show.style.show) in:\n{cell.source}"
    assert not re.search(r"!\[\s*\]\(", prose(path)), "a picture without alt text in the prose"


@walk
def test_key_numbers_are_on_record_and_nbval_compares_them(path):
    assert recorded(notebook_files.read(path)), "no record(...) among the committed outputs"
    last = code(path)[-1].source
    assert "record(" in last, "the last code cell calls record(...)"
    assert "NBVAL_CHECK_OUTPUT" in last


# ---- other parameters --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """run(path, parameters): the result, each executed once."""

    @cache
    def executed(path: Path, items: tuple) -> RunResult:
        parameters = {name: list(value) if isinstance(value, tuple) else value for name, value in items}
        destination = tmp_path_factory.mktemp(path.stem) / path.name
        return run_notebook(path, destination, parameters, show_progress=False, timeout=600)

    def hashable(parameters: dict) -> tuple:
        return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in parameters.items())

    return lambda path, parameters: executed(path, hashable(parameters))


def case(cases: dict[str, Case], path: Path) -> Case:
    name = "QUICK" if cases is QUICK else "DIFFERENT"
    if path.stem not in cases:
        pytest.fail(f"tests/test_notebooks.py: {name} has no entry for {path.stem!r}: add a Case")
    found = cases[path.stem]
    assert found.numbers, f"{name}[{path.stem!r}] asserts no number"
    defaults = {parameter.name: parameter.default for parameter in Notebook.read(path).parameters.values()}
    unchanged = [key for key, value in found.parameters.items() if key in defaults and defaults[key] == value]
    assert not unchanged, f"{name}[{path.stem!r}] sets {unchanged[0]} to its default"
    assert found.parameters, f"{name}[{path.stem!r}] sets no parameter"
    return found


def assert_recorded(numbers: dict, expected: dict) -> None:
    for name, value in expected.items():
        assert name in numbers, f"{name!r} is not on record; there are: {', '.join(numbers)}"
        if isinstance(value, tuple):
            low, high = value
            assert low <= numbers[name] <= high, f"{name}: {numbers[name]} is not within {low} to {high}"
        else:
            assert numbers[name] == value, f"{name}: expected {value!r}, got {numbers[name]!r}"
            assert type(numbers[name]) is type(value), f"{name}: expected a {type(value).__name__}"


@walk
def test_quick(path, run):
    chosen = case(QUICK, path)
    assert_recorded(run(path, chosen.parameters).numbers, chosen.numbers)


@walk
def test_different(path, run):
    chosen = case(DIFFERENT, path)
    result = run(path, chosen.parameters)
    assert_recorded(result.numbers, chosen.numbers)
    before = recorded(notebook_files.read(path))
    changed = [name for name, value in result.numbers.items() if not same(value, before.get(name))]
    assert changed, "other parameters, and yet every number on record is as before"


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-12)
    return left == right


@pytest.mark.parametrize(
    ("model_name", "depths", "told"),
    [("random:resnet18", 9, "Grad-CAM"), ("random:vit_b_32", 2, "Grad-CAM is left out")],
)
def test_photographs_takes_ones_own_photo_and_model(model_name, depths, told, tmp_path):
    photo = tmp_path / "my photo.jpg"
    pixels = torch.randint(0, 255, (90, 120, 3), dtype=torch.uint8, generator=torch.manual_seed(0)).numpy()
    pixels[20:60, 30:80] = (200, 40, 40)
    Image.fromarray(pixels).save(photo)
    parameters = {
        "model_name": model_name,
        "photo": str(photo),
        "more_photos": [str(photo)],
        "mosaics": ["chelsea", "coffee", str(photo), "rocket"],
        "mosaic_side": 64,
        "quick": True,
        "ranks": [1, 2],
        "noise_samples": 1,
        "shown_depths": 1,
        "curve_steps": 1,
        "draws": 200,
    }
    destination = tmp_path / "08_photographs.ipynb"
    result = run_notebook(
        FOLDER / "08_photographs.ipynb", destination, parameters, show_progress=False, timeout=900
    )
    assert_recorded(result.numbers, {"depths": depths, "mosaics": 1})
    assert told in destination.read_text(encoding="utf-8")


@solutions
def test_solutions_run(path, run):
    run(path, {})
