"""Other parameters for the notebooks of the walk, quick ones, and the numbers that they must then put on record."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from test_notebooks import FOLDER, read

from helpers.run.records import recorded

OWN_PHOTO = "the path of a photograph of one's own"  # in parameters: it is made, and put in this place
# the notebooks with a small panel, which are run in a browser, if there is one
PANELS = ("02_off_on_a_tangent", "03_nonlinear_saliency", "05_the_class", "06_tabular", "08_photographs")


@dataclass(frozen=True)
class Case:
    """Parameters to run a notebook with, and what it must then put on record.

    numbers: name -> the value itself (text, truth value, whole number), or (lowest, highest) if measured.
    """

    parameters: dict
    numbers: dict


# Deliberately other sets: other data, class, score or level, and sizes that take a fraction of the defaults' time.
CASES: dict[str, Case] = {
    "00_index": Case(
        {"photos": ["rocket", "coffee", "flower", "chelsea"], "side": 96, "point": [0.3, 1.0], "steps": 8},
        {
            "gradient_auc": (0.69, 0.76),
            "grad_cam_auc": (0.985, 1.0),
            "grad_cam_contrast_auc": (0.97, 1.0),
            "nonlinear_auc": (0.975, 0.995),
            "toy_miss": (0.75, 0.78),
            "toy_arrived": True,
        },
    ),
    "01_linear_saliency": Case(
        {"seed": 1, "patient": 6, "digit": 3, "regularisation": 10.0, "largest": 4},
        {
            "affine_exact": True,
            "explained_class": 2,
            "patient_score": (-20.8, -20.7),
            "log_odds_miss": (0.13, 0.135),
            "log_odds_miss_largest": (0.25, 0.26),
            "order_of_error": (1.95, 2.05),
            "c1_first_half": True,
        },
    ),
    "02_off_on_a_tangent": Case(
        {"way": 0.25, "seed": 1, "draws": 100},
        {
            "toys": 9,
            "gradient_found": 4,
            "linear_right": 3,
            "one_at_a_time_found": 9,
            "random_found": (3.4, 4.6),
            "largest_miss_right": (0.51, 0.52),
            "smallest_miss_wrong": (0.38, 0.385),
            "auc_own_step": (0.43, 0.46),
            "c1_second_half": False,
        },
    ),
    "03_nonlinear_saliency": Case(
        {
            "hand_toy": "kernel machine",
            "readout": "mean_gradient",
            "smooth_toys": ["kernel machine"],
            "digit": 7,
            "rival": 9,
            "hand_steps": 50,
            "steps": 24,
            "seed": 1,
        },
        {
            "by_hand_agrees": True,
            "affine_agreement_1e_9": True,
            "integrated_gradients_1e_6": True,
            # the straight path's first place at the level is on a far branch
            "smallest_first_order_slope": (0.0, 0.1),
            "found_by_chance": (3.4, 4.6),
            "found_by_linear": 2,
            "found_by_straight": 8,
            "found_by_flow": 5,
            "tangent_residual": (0.24, 0.245),
        },
    ),
    "04_digits": Case(
        {
            "score_name": "margin",
            "shown": [7],
            "digit": 650,
            "flow_steps": 4,
            "checked": 20,
            "erased": 0.1,
            "grid_count": 4,
            "drop": 5.0,
            "seed": 3,
        },
        {
            "tangent_median_miss": (0.25, 0.27),
            "flow_at_the_level": (0.949, 1.0),
            "ink_gone": (0.069, 0.072),
            "erased_by_flow": (0.49, 0.61),
            "grids": 4,
            "right_cell_flow": (0.68, 0.82),
        },
    ),
    "05_the_class": Case(
        {
            "point": [1.0, 0.45],
            "image": 5,
            "steps": 8,
            "box_edge": 1.05,
            "widths": [2.0],
            "noise": 0.1,
            "ring_stretch": 2.5,
            "seed": 1,
        },
        {
            "known_methods_1e_9": True,
            "idgi_error_ratio": (3.8, 4.2),
            "logit_change": (0.1, 0.5),
            "digit_class": 0,
            "ring_two_starts": (0.899, 0.901),
            "ring_six_starts": (0.397, 0.398),
        },
    ),
    "06_tabular": Case(
        {
            "dataset": "wine",
            "model": "kernel machine",
            "patient": 5,
            "steps": 24,
            "largest": 4,
            "draws": 200,
            "seed": 1,
        },
        {
            "accuracy": (0.97, 1.0),
            "linear_miss": (0.5, 1.2),
            "off_data_scaled": (0.55, 0.65),
            "off_data_covariance": (0.43, 0.52),
            "moves_straight": (1.9, 2.05),
            "moves_greedy": (1.5, 1.6),
        },
    ),
    "07_digits_in_depth": Case(
        {
            "image": 592,
            "shown": 2,
            "steps": 8,
            "sampled": 6,
            "shared": 3,
            "checked": 2,
            "draws": 2,
            "seed": 1,
        },
        {
            "question": "why 5 and not 3",
            "accuracy": (0.987, 0.989),
            "witness_follows_handwriting": (0.8, 1.0),
            "support_without_ink": (0.3, 0.7),
            "edges_random": (0.999, 1.001),
            "overlap_grad_cam": (0.0, 0.2),
        },
    ),
    "08_photographs": Case(
        {
            "model_name": "random:resnet18",
            "photo": OWN_PHOTO,
            "ranks": [1, 3],
            "side": 160,
            "more_photos": ["china", OWN_PHOTO],
            "mosaics": ["chelsea", "coffee", OWN_PHOTO, "rocket"],
            "mosaic_side": 64,
            "every": 3,
            "curve_steps": 1,
            "quick": True,
            "draws": 200,
            "seed": 1,
        },
        {"depths": 4, "mosaics": 1, "tangent_residual": (0.14, 0.154), "auc_nonlinear": (0.35, 0.38)},
    ),
    "09_scoreboard": Case(
        {"network": "efficientnet_lite2", "rank": "second", "margin": 0.0, "draws": 500, "seed": 1},
        {
            "first_class": (0.52, 0.523),
            "depths_ahead": 13,
            "c5_cases_held": 0,
            "affine_agreement": True,
        },
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
            "explained": "espresso",
            "method": "straight",
            "reference": "grey",
            "peers": ["gradient", "Occlusion"],
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
            "kept_by_gradient": (0.78, 0.85),
            "kept_by_occlusion": (0.08, 0.18),
            "kept_with_random_weights": (-0.02, 0.08),
        },
    ),
}


def assert_recorded(name: str, numbers: dict) -> None:
    """The numbers on record are those of the notebook's case, and not those of its committed parameters."""
    for key, value in CASES[name].numbers.items():
        assert key in numbers, f"{key!r} is not on record; there are: {', '.join(numbers)}"
        if isinstance(value, tuple):
            low, high = value
            assert low <= numbers[key] <= high, f"{key}: {numbers[key]} is not within {low} to {high}"
        else:
            assert numbers[key] == value, f"{key}: expected {value!r}, got {numbers[key]!r}"
            assert type(numbers[key]) is type(value), f"{key}: expected a {type(value).__name__}"
    before = recorded(read(FOLDER / f"{name}.ipynb"))
    changed = [key for key, value in numbers.items() if not same(value, before.get(key))]
    assert changed, "other parameters, and yet every number on record is as before"


def with_photo(value, file: Path):
    """The value with the file in the place of OWN_PHOTO, also inside lists and dicts; made if it is needed."""
    if isinstance(value, dict):
        return {name: with_photo(each, file) for name, each in value.items()}
    if isinstance(value, list):
        return [with_photo(each, file) for each in value]
    if value != OWN_PHOTO:
        return value
    if not file.exists():
        pixels = torch.randint(
            0, 255, (90, 120, 3), dtype=torch.uint8, generator=torch.manual_seed(0)
        ).numpy()
        pixels[20:60, 30:80] = (200, 40, 40)
        Image.fromarray(pixels).save(file)
    return str(file)


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-12)
    return left == right
