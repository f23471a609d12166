"""Intervals, paired differences and their summary."""

import numpy as np
import pandas as pd
import pytest
import torch
from pictures import grids_of, some_pictures

from helpers.measure.grids import (
    ALL,
    BEST,
    CENTRE,
    OTHERS,
    RANDOM,
    grid_pointing,
)
from helpers.measure.statistics import (
    Difference,
    against,
    bootstrap_interval,
    compare,
    holm,
    log_log_slope,
    paired_difference,
    proportion_interval,
    sign_flip,
    summarise,
    verdict,
)


@pytest.fixture
def pictures():
    return some_pictures()


def own_brightness(inputs, target):
    """The channel of the target: what the toy model really looks at."""
    return inputs[torch.arange(len(inputs)), target][:, None]


def pointing(pictures, methods=None, **options):
    methods = {"own": own_brightness} if methods is None else methods
    return grid_pointing(methods, grids_of(pictures), show_progress=False, **options)


# ---- intervals and comparisons -----------------------------------------------------------------------------


def test_bootstrap_interval_is_near_the_textbook_one():
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    estimate, low, high = bootstrap_interval(values)
    error = 1.96 * values.std() / np.sqrt(400)
    assert estimate == values.mean()
    assert low == pytest.approx(values.mean() - error, abs=0.05)
    assert high == pytest.approx(values.mean() + error, abs=0.05)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_bootstrap_by_group_is_as_wide_as_the_groups_are_few():
    means = np.random.default_rng(1).normal(size=30)
    values, groups = np.repeat(means, 10), np.repeat([f"photo {i}" for i in range(30)], 10)
    whole, apart = bootstrap_interval(values, groups), bootstrap_interval(values)
    alone = bootstrap_interval(means)
    assert whole.high - whole.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert whole.high - whole.low > 2.5 * (apart.high - apart.low)


def test_any_statistic_can_be_bootstrapped():
    values, groups = np.arange(20.0), np.repeat(np.arange(5), 4)
    mean = bootstrap_interval(values, groups, statistic=lambda v: v.mean(), samples=300)
    assert mean == pytest.approx(bootstrap_interval(values, groups, samples=300))
    assert bootstrap_interval(values, statistic=np.median, samples=50).estimate == 9.5


def test_bootstrap_refuses_bad_values():
    with pytest.raises(ValueError, match="values: expected at least one value"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="values: .*with NaN or infinity"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ValueError, match=r"groups: expected one group a value, shape \(2,\); got \(3,\)"):
        bootstrap_interval([1.0, 2.0], [0, 1, 2])
    with pytest.raises(ValueError, match="confidence: expected a number in"):
        bootstrap_interval([1.0, 2.0], confidence=95)
    with pytest.raises(
        ValueError, match=r"second: expected as many values as first, shape \(2,\); got \(1,\)"
    ):
        paired_difference([1.0, 2.0], [1.0])


def test_paired_difference_takes_out_what_the_cases_share():
    generator = np.random.default_rng(2)
    cases = generator.normal(0, 10, 60)
    first = cases + generator.normal(0.5, 0.5, 60)
    estimate, low, high, p_value = paired_difference(first, cases)
    assert estimate == pytest.approx((first - cases).mean())
    assert 0 < low < estimate < high < 1
    assert p_value < 0.01
    same = paired_difference(cases, cases)
    assert same == (0.0, 0.0, 0.0, 1.0)
    back = paired_difference(cases, first)
    assert (back.low, back.high) == pytest.approx((-high, -low))


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04, factors 4 3 2 1: .04 .06 .06 .04, made monotone.
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.7, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.03]).tolist() == [0.03]
    with pytest.raises(ValueError, match=r"p_values: expected numbers in \[0, 1\]"):
        holm([0.5, np.nan])


def test_summary_splits_the_best_ranked_class_from_the_others(pictures):
    scores = pointing(pictures)
    table = summarise(scores)
    assert list(table.columns) == ["method", "part", "mean", "low", "high"]
    assert list(table["part"][:3]) == [BEST, OTHERS, ALL]
    random = scores[scores["method"] == RANDOM]
    row = table[(table["method"] == RANDOM) & (table["part"] == BEST)].iloc[0]
    assert row["mean"] == pytest.approx(random[random["rank"] == 0]["rank_auc"].mean())
    assert row["low"] < row["mean"] < row["high"]
    with pytest.raises(ValueError, match="scores: expected a column 'photo'"):
        summarise(scores, group="photo")


def test_comparison_pairs_cases_whatever_their_order(pictures):
    scores = pointing(pictures, {"own": own_brightness, "same": own_brightness}).sample(
        frac=1, random_state=0
    )
    table = compare(scores, "own").set_index(["peer", "part"])
    assert table.loc[("same", ALL), "difference"] == 0
    assert table.loc[("same", ALL), "no_worse"]
    assert not table.loc[("same", ALL), "better"]
    assert table.loc[(CENTRE, OTHERS), "difference"] == pytest.approx(0.5)
    assert table.loc[(CENTRE, OTHERS), "better"]
    for part in (BEST, OTHERS, ALL):
        rows = table.xs(part, level="part")
        assert rows["p_holm"].tolist() == holm(rows["p"]).tolist()
        assert len(rows) == 3
    worse = compare(scores, CENTRE, peers=["own"])
    assert not worse["no_worse"].any()
    with pytest.raises(ValueError, match="got 'nobody'"):
        compare(scores, "nobody")
    with pytest.raises(ValueError, match="expected the same grids and cells"):
        compare(scores[(scores["method"] != "same") | (scores["grid"] > 0)], "own", peers=["same"])


def test_log_log_slope():
    x = np.array([1e-3, 1e-2, 1e-1])
    assert log_log_slope(x, 5 * x**2) == pytest.approx(2.0)
    assert log_log_slope(x, [0.0, 1e-2, 1e-1]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="y: expected positive values at two different x"):
        log_log_slope(x, [0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"y: expected as many values as x.*\(2,\) and \(3,\)"):
        log_log_slope(x, [1.0, 2.0])
    with pytest.raises(ValueError, match="not negative"):
        log_log_slope(x, [1.0, -1.0, 1.0])


def test_wilsons_interval_in_closed_form():
    hits = torch.tensor([True] * 8 + [False] * 2)
    z, n, p = 1.959963984540054, 10, 0.8
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = np.array([p, (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)])
    np.testing.assert_allclose(proportion_interval(hits), expected)
    assert proportion_interval(hits, confidence=0.5).high < expected[2]
    assert proportion_interval([False] * 10) == pytest.approx((0.0, 0.0, z**2 / (n + z**2)))


@pytest.mark.parametrize("hits", [[], [0.5, 1.0], [[True]], [1, 0]])
def test_how_often_needs_truth_values(hits):
    with pytest.raises(ValueError, match="hits: expected at least one truth value"):
        proportion_interval(hits)
    with pytest.raises(ValueError, match=r"confidence: expected a number in \(0, 1\); got 1"):
        proportion_interval([True], confidence=1)


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "cases", "word"),
    [
        (0.01, 0.1, 0.01, 8, "better"),
        (0.01, 0.1, 0.2, 8, "no worse"),  # the interval alone is not enough
        (-0.009, 0.1, 0.2, 8, "no worse"),
        (-0.02, 0.1, 0.2, 8, "not shown"),
        (-0.1, -0.02, 0.01, 8, "worse"),
        (-0.1, -0.02, 0.2, 8, "not shown"),
        (0.01, 0.1, 0.01, 7, "too few"),
    ],
)
def test_the_one_rule_of_the_verdicts(low, high, p_holm, cases, word):
    assert verdict(Difference((low + high) / 2, low, high, p_holm), p_holm, cases) == word


def test_sign_flips_by_hand():
    assert sign_flip([1.0, 1.0, -1.0]) == 1.0
    assert sign_flip([3.0, 1.0, 1.0]) == 0.25
    # whole groups change their sign: two groups leave four assignments
    assert sign_flip([1.0, 1.0, 1.0, 1.0], groups=[0, 0, 1, 1]) == 0.5
    noise = np.random.default_rng(0).normal(size=40)
    assert sign_flip(noise - noise.mean()) > 0.9
    assert sign_flip(noise + 2) == pytest.approx(1e-4)
    assert sign_flip(noise) == sign_flip(-noise)


def test_against_pairs_corrects_and_counts_groups():
    values = pd.DataFrame({"ours": np.linspace(0.5, 0.9, 20)})
    values["lower"], values["same"] = values["ours"] - 0.1, values["ours"]
    values["few"] = (values["ours"] - 0.1).where(values.index < 6)
    found = against(values, "ours")
    assert found["verdict"].to_dict() == {"lower": "better", "same": "no worse", "few": "too few"}
    assert found.loc["lower", "p_holm"] == pytest.approx(3 / 10_000)
    assert found.loc["few", "difference"] == pytest.approx(0.1)
    by_scene = against(values, "ours", groups=np.arange(20) // 5)
    assert set(by_scene["verdict"]) == {"too few"}  # four scenes
    with pytest.raises(ValueError, match="ours: expected one of ours, lower, same, few; got 'absent'"):
        against(values, "absent")
