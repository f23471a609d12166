"""Intervals, paired differences and their summary."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from torch import Tensor

from helpers.checks import require_count
from helpers.measure.grids import ALL, BEST, ORACLE, OTHERS

EXACT, FLIPS = 12, 10_000  # groups of which all signs are tried; signs that are drawn for more


class Interval(NamedTuple):
    """An estimate with the lower and upper end of its interval.

    Example:
        >>> low, high = Interval(estimate=0.8, low=0.7, high=0.9)[1:]
        >>> low < 0.75 < high
        True
    """

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference with its interval, and the two-sided p-value of "there is none".

    Example:
        >>> difference = Difference(estimate=0.1, low=0.05, high=0.15, p_value=0.001)
        >>> difference.low > 0
        True
    """

    estimate: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    values: Sequence[float] | np.ndarray | Tensor,
    groups: Sequence | np.ndarray | Tensor | None = None,
    statistic: Callable[[np.ndarray], float] = np.mean,
    samples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a statistic; whole groups are drawn (Efron & Tibshirani 1993).

    Values of one group depend on each other (four cells of one grid, the grids of one photo): drawing groups
    keeps that in the interval, drawing values would make it too narrow.

    Args:
        values: (N,), finite.
        groups: (N,), the group of each value; None: each its own.
        statistic: from an array (n,) to a number.
        samples: bootstrap draws.
        seed: of the draws.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: no values, values that are not finite, or not one group a value.

    Example:
        >>> values, photographs = [0.9, 0.9, 0.9, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1, 1]
        >>> [round(end, 3) for end in bootstrap_interval(values, photographs)]  # 2 photographs, not 6
        [0.7, 0.5, 0.9]
    """
    values, draws = _bootstrap(values, groups, statistic, samples, seed, confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(values)), float(low), float(high))


def proportion_interval(hits: Sequence[bool] | np.ndarray | Tensor, confidence: float = 0.95) -> Interval:
    """How often something happened, with Wilson's interval (Wilson 1927), which stays in [0, 1].

    A bootstrap of hits that are all alike has no width; this interval has, as it should.

    Args:
        hits: (N,), one truth value a case; the cases are independent.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: no cases, values other than truth values, a confidence outside (0, 1).

    Example:
        >>> [round(end, 3) for end in proportion_interval([True] * 10)]
        [1.0, 0.722, 1.0]
    """
    hits = np.asarray(hits)
    if hits.ndim != 1 or not len(hits) or hits.dtype != bool:
        raise ValueError(
            f"hits: expected at least one truth value, shape (N,); got {hits.dtype}, shape {hits.shape}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number in (0, 1); got {confidence!r}.")
    result = binomtest(int(hits.sum()), len(hits))
    low, high = result.proportion_ci(confidence, method="wilson")
    return Interval(float(hits.mean()), float(low), float(high))


def paired_difference(
    first: Sequence[float] | np.ndarray | Tensor,
    second: Sequence[float] | np.ndarray | Tensor,
    groups: Sequence | np.ndarray | Tensor | None = None,
    samples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Difference:
    """Mean of first - second over the same cases, with its bootstrap interval and p-value.

    The p-value is twice the smaller share of draws on either side of 0, one draw added to each so that it is
    never 0.

    Args:
        first, second: (N,), in the same order of cases.
        The others are those of `bootstrap_interval`.

    Raises:
        ValueError: lengths that differ, and what `bootstrap_interval` raises.

    Example:
        >>> difference = paired_difference([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
        >>> [round(value, 3) for value in difference]
        [0.1, 0.1, 0.1, 0.001]
    """
    first, second = (np.asarray(v, dtype=float) for v in (first, second))
    if first.shape != second.shape:
        raise ValueError(
            f"second: expected as many values as first, shape {first.shape}; got {second.shape}."
        )
    values, draws = _bootstrap(first - second, groups, np.mean, samples, seed, confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p_value = min(1.0, 2 * (tail + 1) / (samples + 1))
    return Difference(float(values.mean()), float(low), float(high), float(p_value))


def sign_flip(
    values: Sequence[float] | np.ndarray | Tensor,
    groups: Sequence | np.ndarray | Tensor | None = None,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "the mean is 0", by the sign-flip test (Fisher 1935): whole groups change their sign.

    All assignments of signs are counted for at most 12 groups, else 10,000 are drawn. It cannot be smaller than
    2 / 2^groups, however clear the difference: few cases prove little.

    Args:
        values: (N,), finite; of a paired comparison the differences.
        groups, seed: as in `bootstrap_interval`.

    Example:
        >>> sign_flip([0.1, 0.2, 0.3])  # 2 of 8 assignments are as far from 0
        0.25
    """
    values = np.asarray(values, dtype=float)
    _, number = np.unique(
        np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True
    )
    sums = np.bincount(number, values)
    if len(sums) <= EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(sums))))
    else:
        signs = np.random.default_rng(seed).choice((-1.0, 1.0), (FLIPS - 1, len(sums)))
        signs = np.concatenate([np.ones((1, len(sums))), signs])  # what was measured is one of them
    far = np.abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    return float((np.abs(signs @ sums) >= far).mean())


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction for several comparisons (Holm 1979): adjusted p-values in the given order, (M,).

    Raises:
        ValueError: values outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values: expected numbers in [0, 1], shape (M,); got {p_values.tolist()}.")
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def verdict(difference: Difference, p_holm: float, cases: int, margin: float = 0.01, fewest: int = 8) -> str:
    """What may be said of a difference: the one rule of every table.

    Args:
        difference: ours - the other's, with its 95 % interval.
        p_holm: its p-value, corrected over all comparisons of the table's part.
        cases: independent ones (scenes, photographs).
        margin: what is too little to matter, in the units of the difference.
        fewest: cases, for an interval to mean something.

    Returns:
        "better" (interval above 0, p_holm < 0.05), "worse" (the same below 0), "no worse" (interval above
        -margin), "not shown" (none of these), "too few" (cases).

    Example:
        >>> verdict(Difference(0.1, 0.05, 0.15, 0.001), p_holm=0.01, cases=12)
        'better'
        >>> verdict(Difference(0.0, -0.005, 0.005, 0.8), p_holm=1.0, cases=12)
        'no worse'
    """
    if cases < fewest:
        return "too few"
    if p_holm < 0.05 and difference.low > 0:
        return "better"
    if p_holm < 0.05 and difference.high < 0:
        return "worse"
    return "no worse" if difference.low > -margin else "not shown"


def against(
    values: pd.DataFrame,
    ours: str,
    groups: Sequence | np.ndarray | None = None,
    margin: float = 0.01,
    samples: int = 2000,
    seed: int = 0,
    apart: Sequence[str] = (),
) -> pd.DataFrame:
    """Paired differences of one column to each of the others, with a verdict.

    Args:
        values: one row a case, one column a method; where a method was not measured, NaN: it is compared over
            the cases that both have.
        ours: the column that the others are compared with.
        groups: the independent group of each case (scene, photograph), one a row; None: each its own.
        margin: as in `verdict`.
        samples, seed: of `bootstrap_interval`.
        apart: columns that are no peers (controls, ours with other settings): they are corrected among themselves.

    Returns:
        One row a method but ours, which is the index; columns difference (ours - its), low, high, p_holm (of
        `sign_flip`, corrected over the peers, or over those apart), verdict.

    Raises:
        ValueError: ours is no column; and what `bootstrap_interval` raises.

    Example:
        >>> import pandas as pd
        >>> values = pd.DataFrame({"ours": [0.9, 0.8, 0.7] * 3, "peer": [0.8, 0.6, 0.6] * 3})
        >>> against(values, "ours").round(3)[["difference", "verdict"]].values.tolist()
        [[0.133, 'better']]
    """
    if ours not in values.columns:
        raise ValueError(f"ours: expected one of {', '.join(map(str, values.columns))}; got {ours!r}.")
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    others = [name for name in values.columns if name != ours]
    found, p_values, cases = [], [], []
    for name in others:
        both = values[[ours, name]].notna().all(axis=1).to_numpy()
        pair = [values[column][both].to_numpy() for column in (ours, name)]
        found.append(paired_difference(*pair, groups[both], samples=samples, seed=seed))
        p_values.append(sign_flip(pair[0] - pair[1], groups[both], seed))
        cases.append(len(np.unique(groups[both])))
    corrected, families = np.ones(len(found)), np.array([name in apart for name in others], dtype=bool)
    for family in (families, ~families):
        corrected[family] = holm(np.array(p_values)[family])
    rows = [
        (each.estimate, each.low, each.high, p, verdict(each, p, count, margin))
        for each, p, count in zip(found, corrected, cases, strict=True)
    ]
    return pd.DataFrame(
        rows,
        columns=["difference", "low", "high", "p_holm", "verdict"],
        index=pd.Index(others, name="method"),
    )


def summarise(
    scores: pd.DataFrame, metric: str = "rank_auc", group: str = "grid", samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean and 95 % interval of a metric for each method, the best-ranked class and the others apart.

    Args:
        scores: of `grid_pointing`.
        metric: one of METRICS.
        group: the column whose values are drawn together: "grid", or "member" where few images are in many
            grids.

    Returns:
        One row a (method, part) in the order of the methods; columns method, part, mean, low, high. What
        `helpers.show.numbers.dots_with_intervals` draws.

    Raises:
        ValueError: a column that is missing.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"grid": [0, 0, 1, 1], "cell": [0, 1, 0, 1], "rank": [0, 1, 0, 1]})
        >>> summary = summarise(cells.assign(method="ours", rank_auc=[0.9, 0.7, 0.8, 0.6]))
        >>> summary.set_index("part")["mean"].round(3).to_dict()
        {'best-ranked class': 0.85, 'other classes': 0.65, 'all classes': 0.75}
    """
    _require_columns(scores, metric, group)
    rows = []
    for name in scores["method"].unique():
        for part, table in _parts(scores[scores["method"] == name]).items():
            if len(table):
                interval = bootstrap_interval(table[metric], table[group], samples=samples, seed=seed)
                rows.append((name, part, *interval))
    return pd.DataFrame(rows, columns=["method", "part", "mean", "low", "high"])


def compare(
    scores: pd.DataFrame,
    ours: str,
    metric: str = "rank_auc",
    peers: Sequence[str] | None = None,
    group: str = "grid",
    samples: int = 2000,
    seed: int = 0,
    margin: float = 0.01,
) -> pd.DataFrame:
    """Paired differences of one method to each of the others, with 95 % intervals and Holm's correction.

    Args:
        scores: of `grid_pointing`.
        ours: the method that the others are compared with.
        metric: one of METRICS.
        peers: the others; None: all but the oracle.
        group: as in `summarise`.
        margin: "no worse" means that the interval's lower end is above -margin.

    Returns:
        One row a (peer, part); columns peer, part, difference (ours - peer), low, high, p, p_holm (corrected
        over the peers of the same part), better (low > 0 and p_holm < 0.05), no_worse.

    Raises:
        ValueError: a method or column that is missing.

    Example:
        >>> import pandas as pd
        >>> cells = pd.DataFrame({"grid": [0, 0, 1, 1], "cell": [0, 1, 0, 1], "rank": [0, 1, 0, 1]})
        >>> ours = cells.assign(method="ours", rank_auc=[0.9, 0.7, 0.8, 0.6])
        >>> peer = cells.assign(method="peer", rank_auc=[0.8, 0.6, 0.7, 0.5])
        >>> table = compare(pd.concat([ours, peer]), "ours").set_index("part")
        >>> table["difference"].round(3).to_dict(), table["better"].all().item()
        ({'best-ranked class': 0.1, 'other classes': 0.1, 'all classes': 0.1}, True)
    """
    _require_columns(scores, metric, group)
    known = list(scores["method"].unique())
    peers = [name for name in known if name not in (ours, ORACLE)] if peers is None else list(peers)
    missing = [name for name in (ours, *peers) if name not in known]
    if missing:
        raise ValueError(
            f"ours, peers: expected methods of the scores ({', '.join(known)}); got {missing[0]!r}."
        )
    by_part: dict[str, list[tuple]] = {}
    key = ["grid", "cell"]
    own = scores[scores["method"] == ours].set_index(key).sort_index()
    for peer in peers:
        other = scores[scores["method"] == peer].set_index(key).sort_index()
        if not own.index.equals(other.index):
            raise ValueError(
                f"scores: expected the same grids and cells for {ours!r} and {peer!r}; got others."
            )
        both = own.reset_index().assign(peer=other[metric].to_numpy())
        for part, table in _parts(both).items():
            if len(table):
                difference = paired_difference(
                    table[metric], table["peer"], table[group], samples=samples, seed=seed
                )
                by_part.setdefault(part, []).append((peer, part, *difference))
    columns = ["peer", "part", "difference", "low", "high", "p"]
    tables = [pd.DataFrame(rows, columns=columns) for rows in by_part.values()]
    tables = [table.assign(p_holm=holm(table["p"])) for table in tables]
    result = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*columns, "p_holm"])
    result["better"] = (result["low"] > 0) & (result["p_holm"] < 0.05)
    result["no_worse"] = result["low"] > -margin
    return result


def log_log_slope(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Slope of log y over log x by least squares: the order of convergence. Pairs with a 0 are left out.

    Raises:
        ValueError: negative or not finite values, or fewer than two different x with a positive y.

    Example:
        >>> round(log_log_slope([1, 2, 4], [3, 12, 48]), 6)  # 3 x^2
        2.0
    """
    x, y = (np.asarray(v, dtype=float) for v in (x, y))
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"y: expected as many values as x, shape (T,); got shapes {y.shape} and {x.shape}.")
    if not (np.isfinite(x) & np.isfinite(y) & (x >= 0) & (y >= 0)).all():
        raise ValueError(
            f"x, y: expected finite values that are not negative; got {x.tolist()}, {y.tolist()}."
        )
    kept = (x > 0) & (y > 0)
    if len(np.unique(x[kept])) < 2:
        raise ValueError(f"y: expected positive values at two different x at least; got {y.tolist()}.")
    return float(np.polyfit(np.log(x[kept]), np.log(y[kept]), 1)[0])


def _parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {BEST: table[table["rank"] == 0], OTHERS: table[table["rank"] > 0], ALL: table}


def _require_columns(scores: pd.DataFrame, *columns: str) -> None:
    for column in (*columns, "method", "grid", "cell", "rank"):
        if column not in scores.columns:
            raise ValueError(
                f"scores: expected a column {column!r}; got {', '.join(map(str, scores.columns))}."
            )


def _bootstrap(
    values, groups, statistic, samples: int, seed: int, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """The values, and the statistic of each of the bootstrap draws, (samples,)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"values: expected at least one value, finite, shape (N,); got shape {values.shape}"
            f"{' with NaN or infinity' if values.size and not np.isfinite(values).all() else ''}."
        )
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if groups.shape != values.shape:
        raise ValueError(f"groups: expected one group a value, shape {values.shape}; got {groups.shape}.")
    require_count("samples", samples)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number in (0, 1); got {confidence!r}.")
    _, number = np.unique(groups, return_inverse=True)
    count = number.max() + 1
    drawn = np.random.default_rng(seed).integers(count, size=(samples, count))
    if statistic is np.mean:
        # The mean of a draw needs only the groups' sums and sizes.
        sums, sizes = np.bincount(number, values), np.bincount(number)
        return values, sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    members = [values[number == group] for group in range(count)]
    return values, np.array([statistic(np.concatenate([members[g] for g in draw])) for draw in drawn])
