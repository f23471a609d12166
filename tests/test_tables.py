"""helpers.lessons.tables: the kernel classifier, features that are moved one after another, and the figures."""

import pytest
import torch
from sklearn.svm import SVC

from helpers.lessons.tables import (
    change_table,
    ends_figure,
    features_moved,
    greedy_order,
    groups_figure,
    moves_needed,
    patients_figure,
    scores_while_moving,
)
from helpers.saliency import LogOdds
from helpers.show.style import png
from helpers.zoo.datasets import breast_cancer, two_moons, wine
from helpers.zoo.kernel_machines import KernelClassifier, KernelMachine
from helpers.zoo.networks import accuracy


def linear(weights):
    return lambda points: points @ torch.tensor(weights, dtype=points.dtype)


# ---- kernel classifier -------------------------------------------------------------------------------------


def test_two_classes_are_one_machine_whose_value_is_the_log_odds():
    split = breast_cancer()
    model = KernelClassifier.fit(split.train_inputs, split.train_targets)
    machine = KernelMachine.fit(split.train_inputs, split.train_targets, gamma=1 / 30, C=10.0)
    points = split.test_inputs.double()
    torch.testing.assert_close(LogOdds()(model(points), 1), machine(points)[:, 0])
    assert accuracy(model, points, split.test_targets) > 0.93


def test_more_classes_are_one_against_the_rest():
    split = wine()
    model = KernelClassifier.fit(split.train_inputs, split.train_targets, gamma=0.1, C=1.0)
    points = split.test_inputs.double()
    values = model(points)
    assert values.shape == (36, 3)
    for k in range(3):
        oracle = SVC(C=1.0, gamma=0.1).fit(split.train_inputs.double(), split.train_targets == k)
        expected = torch.tensor(oracle.decision_function(points))
        torch.testing.assert_close(values[:, k], expected)
    assert not model.training


@pytest.mark.parametrize("targets", [[1, 1, 2, 2], [0, 0, 0, 0], [0, 2, 0, 2]])
def test_classes_must_be_counted_from_0(targets):
    with pytest.raises(ValueError, match="classes 0 to K - 1, K >= 2; got"):
        KernelClassifier.fit(torch.rand(4, 2), torch.tensor(targets))


def test_two_machines_are_no_classifier():
    machine = KernelMachine(torch.zeros(1, 2), torch.ones(1), 0.0, 1.0)
    with pytest.raises(ValueError, match="one machine for two classes.*got 2"):
        KernelClassifier([machine, machine])


# ---- changes -----------------------------------------------------------------------------------------------


def test_change_table_speaks_raw_units_and_puts_the_largest_first():
    split = wine()
    before = split.test_inputs[0].double()
    after = before.clone()
    after[[3, 7]] += torch.tensor([0.5, -2.0], dtype=torch.float64)
    table = change_table(split, before, after, largest=2)
    assert list(table.index) == [split.feature_names[7], split.feature_names[3]]
    assert list(table.columns) == ["before", "after", "change", "change / std"]
    assert table["change / std"].tolist() == pytest.approx([-2.0, 0.5])
    std = split.std.double()
    assert table["change"].tolist() == pytest.approx([-2 * std[7].item(), 0.5 * std[3].item()])
    raw = (split.mean + split.std * split.test_inputs[0]).double()
    assert table["before"].tolist() == pytest.approx(raw[[7, 3]].tolist(), rel=1e-5)
    assert len(change_table(split, before, after[None])) == 13


def test_change_table_needs_units_and_all_features():
    split = wine()
    with pytest.raises(ValueError, match="expected 13 features each; got 2"):
        change_table(split, torch.zeros(2), torch.zeros(13))
    with pytest.raises(ValueError, match="expected a standardised data set"):
        change_table(two_moons(), torch.zeros(2), torch.zeros(2))


# ---- moving ------------------------------------------------------------------------------------------------


def test_scores_while_moving_by_hand():
    inputs = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    ends = torch.zeros(2, 3)
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    scores = scores_while_moving(linear([1.0, 10.0, 100.0]), inputs, ends, order)
    assert scores.tolist() == [[321.0, 111.0], [21.0, 101.0], [20.0, 1.0], [0.0, 0.0]]
    same = scores_while_moving(linear([1.0, 10.0, 100.0]), inputs, ends, order[0])
    assert same[:, 0].tolist() == scores[:, 0].tolist()
    assert inputs.tolist() == [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]


def test_moves_needed_counts_up_to_the_level_from_either_side():
    scores = torch.tensor([[2.0, -2.0, 2.0, 2.0], [1.0, 0.0, 3.0, -1.0], [0.0, 5.0, 1.0, 4.0]])
    assert moves_needed(scores).tolist() == [2, 1, 3, 1]
    assert moves_needed(scores, level=1.0).tolist() == [1, 2, 2, 1]
    assert moves_needed(torch.zeros(3, 1)).tolist() == [0]


@pytest.mark.parametrize("level", [-100.0, 100.0])
def test_greedy_order_of_a_linear_score_is_that_of_its_terms(level):
    weights = [3.0, -1.0, 2.0, 0.5]
    inputs = torch.ones(1, 4)
    order = greedy_order(linear(weights), inputs, torch.zeros(1, 4), level)
    falling = torch.tensor(weights).argsort(descending=True)
    assert order[0].tolist() == (falling if level < 0 else falling.flip(0)).tolist()


def test_greedy_order_looks_one_move_ahead():
    # the first two do something only together, so the third, which does a little alone, is taken first
    def score(points):
        return points[:, 0] * points[:, 1] + 0.2 * points[:, 2]

    order = greedy_order(score, torch.zeros(1, 3), torch.ones(1, 3), level=1.0)
    assert order[0].tolist() == [2, 0, 1]
    needed = moves_needed(scores_while_moving(score, torch.zeros(1, 3), torch.ones(1, 3), order), 1.0)
    assert needed.tolist() == [3]


def test_an_order_must_be_a_permutation():
    inputs = torch.zeros(2, 3)
    for order in (torch.tensor([0, 1, 1]), torch.zeros(2, 3, dtype=torch.int64), torch.arange(4)):
        with pytest.raises(ValueError, match="order: expected a permutation of 0 to 2"):
            scores_while_moving(linear([1.0] * 3), inputs, inputs, order)
    with pytest.raises(ValueError, match="inputs, ends: expected the same shape"):
        greedy_order(linear([1.0] * 3), inputs, torch.zeros(1, 3))


# ---- figures -----------------------------------------------------------------------------------------------


def test_features_moved_draws_the_model_and_its_tangent():
    point = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    figure = features_moved(lambda x: x.square().sum(1), point, ["a", "b"], ["b"], reach=1.0)
    model, tangent = figure.axes[0].get_lines()[:2]
    assert model.get_ydata()[[0, 60, 120]].tolist() == [2.0, 5.0, 10.0]
    assert tangent.get_ydata()[[0, 60, 120]].tolist() == [1.0, 5.0, 9.0]
    for features in ([], ["c"]):
        with pytest.raises(ValueError, match="features: expected at least one of a, b"):
            features_moved(lambda x: x.sum(1), point, ["a", "b"], features)


def test_ends_figure_shades_what_no_example_reaches():
    ends = {name: (torch.tensor([1.0, y]), torch.tensor([[1.0, y]])) for name, y in (("a", 0.2), ("b", 1.5))}
    options = {"x_label": "x", "y_label": "y", "floor": 1.0, "floor_text": "nobody"}
    (axes,) = ends_figure(
        torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([0.0, 1.0]), ends, **options
    ).axes
    assert {text.get_text() for text in axes.texts} >= {"a", "b", "nobody"}
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["patients", "after the change, a", "after the change, b"]
    (shade,) = (patch for patch in axes.patches if patch.get_zorder() == 0)
    assert shade.get_y() + shade.get_height() == 1.0
    with pytest.raises(ValueError, match="ends: expected at least one"):
        ends_figure(torch.zeros(2, 2), torch.zeros(2), {}, "x", "y")


def test_patients_figure_orders_examples_and_features():
    values = torch.tensor([[0.0, 1.0, -3.0], [0.1, -2.0, 3.0]])
    figure = patients_figure(
        values, torch.tensor([-1.0, 2.0]), ("a", "b", "c"), largest=2, marked=torch.tensor([True, False])
    )
    above, below = figure.axes[:2]
    (image,) = below.get_images()
    assert image.get_array().tolist() == [[3.0, -3.0], [-2.0, 1.0]]
    assert image.norm.vmin == -image.norm.vmax
    assert [label.get_text() for label in below.get_yticklabels()] == ["c", "b"]
    cross = above.get_lines()[-1]
    assert (cross.get_xdata().tolist(), cross.get_ydata().tolist()) == ([1], [-1.0])
    assert len(png(figure)) > 1000


@pytest.mark.parametrize(
    ("values", "scores", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3), r"expected shapes \(N, 3\) and \(N,\)"),
        (torch.zeros(2, 2), torch.zeros(2), r"expected shapes \(N, 3\) and \(N,\)"),
        (torch.full((2, 3), torch.nan), torch.zeros(2), "finite"),
    ],
)
def test_patients_figure_refuses_what_it_cannot_draw(values, scores, message):
    with pytest.raises(ValueError, match=message):
        patients_figure(values, scores, ("a", "b", "c"))


def test_groups_figure_averages_what_is_sorted_by_another_number():
    figure = groups_figure(
        {"one": (torch.tensor([3.0, 0, 1, 2]), torch.tensor([9.0, 0, 2, 5]))}, "x", "y", groups=2
    )
    (axes,) = figure.axes
    assert axes.get_lines()[-1].get_ydata().tolist() == [1.0, 7.0]
    assert [text.get_text() for text in axes.texts] == ["one"]
    for cases in ({}, {"one": (torch.zeros(4), torch.zeros(3))}, {"one": (torch.zeros(2), torch.zeros(2))}):
        with pytest.raises(ValueError, match="cases: expected at least one"):
            groups_figure(cases, "x", "y", groups=3)
