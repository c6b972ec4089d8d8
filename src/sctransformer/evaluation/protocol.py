"""How arms are compared fairly: where search may look, which point wins, and intervals of paired differences."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student_t

LEVEL: Final = 0.95
"""Of all intervals."""


class _Columns(NamedTuple):
    """Columns of the table of results: one row a name, percentage and seed."""

    name: str = "name"
    """Arm or baseline."""
    percent: str = "percent"
    seed: str = "seed"
    score: str = "macro_f1"
    resampled: str = "resampled"
    """Scores of resampled test cells (see `metrics.resampled_macro_f1`); the same resamples for the same test cells."""


RESULT: Final = _Columns()


def seeds_searched_together(
    labelled: Mapping[int, frozenset[Hashable]], tested: Mapping[int, frozenset[Hashable]]
) -> list[tuple[int, ...]]:
    """Seeds whose validation scores may choose a point of the search together.

    The more seeds choose together, the less the choice hangs on a handful of validation cells. But a cell that carries
    a label in one seed may be a test cell of another: then its label would choose for a model it is going to test.
    So all seeds choose together if no cell does both, and each for itself otherwise.

    Args:
        labelled, tested: names of the cells of each seed.

    Returns:
        Groups of seeds.
    """
    seen: frozenset[Hashable] = frozenset().union(*labelled.values())
    held: frozenset[Hashable] = frozenset().union(*tested.values())
    seeds = sorted(labelled)
    return [tuple(seeds)] if seen.isdisjoint(held) else [(seed,) for seed in seeds]


def best_point(scores: Sequence[Sequence[float]]) -> int:
    """The point of a search with the highest mean validation score; the first of equals.

    Args:
        scores: of each point, over inner splits and seeds; the same ones for every point.

    Raises:
        ValueError: a point has no score, or another number of them than the others.
    """
    if not scores or not scores[0] or len({len(own) for own in scores}) > 1:
        raise ValueError(f"points have {[len(own) for own in scores]} scores; expected as many of each, and some")
    return int(np.argmax(np.mean(np.asarray(scores, dtype=np.float64), axis=1)))


def t_interval(values: NDArray[np.floating], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of a mean; not a number where there are fewer than two values."""
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    half = float(student_t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    mean = float(np.mean(values))
    return mean - half, mean + half


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds.

    Args:
        results: columns of RESULT.

    Returns:
        One row a name and percentage, in the order in which they come: name, percent, seeds, mean, sd (sample standard
        deviation; not a number with one seed).
    """
    grouped = results.groupby([RESULT.name, RESULT.percent], sort=False)[RESULT.score]
    return grouped.agg(seeds="count", mean="mean", sd="std").reset_index()


def paired_differences(results: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
    """Differences of each name to each reference on the same cells with the same seeds.

    Two intervals, because two things are drawn: labelled cells with the first weights, and test cells.

    - low, high: t interval over seeds of the paired differences. It holds for other labelled cells and weights; where
      every seed has the same test cells, for these alone. With three seeds it is wide, as it should be.
    - cells_low, cells_high: percentile interval of the mean difference when test cells are resampled within their
      types, both names on the same resample. It holds for other test cells, for these trained models alone.

    A difference that neither interval explains away is more than either chance; `shown` says so. Intervals are not
    corrected for the number of comparisons.

    Args:
        results: columns of RESULT.
        references: names to compare with; those that are not there are passed over.

    Returns:
        One row a name, reference and percentage with at least one seed in common: name, reference, percent, seeds,
        difference, sd, low, high, cells_low, cells_high, shown.
    """
    rows = []
    present = list(dict.fromkeys(results[RESULT.name]))
    score: dict[tuple[str, float, int], float] = {}
    resampled: dict[tuple[str, float, int], NDArray[np.float64]] = {}
    for one in results.to_dict("records"):
        cell = (str(one[RESULT.name]), float(one[RESULT.percent]), int(one[RESULT.seed]))
        score[cell], resampled[cell] = float(one[RESULT.score]), np.asarray(one[RESULT.resampled], dtype=np.float64)
    for percent in dict.fromkeys(results[RESULT.percent]):
        for reference in (name for name in references if name in present):
            for name in (name for name in present if name != reference):
                pairs = [
                    ((name, percent, seed), (reference, percent, seed))
                    for seed in dict.fromkeys(results[RESULT.seed])
                    if (name, percent, seed) in score and (reference, percent, seed) in score
                ]
                if pairs:
                    figures = _difference(
                        np.array([score[one] - score[other] for one, other in pairs]),
                        np.mean([resampled[one] - resampled[other] for one, other in pairs], axis=0),
                    )
                    rows.append({"name": name, "reference": reference, "percent": percent} | figures)
    return pd.DataFrame(rows)


def _difference(difference_S: NDArray[np.float64], resampled_B: NDArray[np.float64]) -> dict[str, Any]:
    low, high = t_interval(difference_S)
    cells_low, cells_high = (float(bound) for bound in np.quantile(resampled_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return {
        "seeds": len(difference_S),
        "difference": float(difference_S.mean()),
        "sd": float(np.std(difference_S, ddof=1)) if len(difference_S) > 1 else float("nan"),
        "low": low,
        "high": high,
        "cells_low": cells_low,
        "cells_high": cells_high,
        "shown": bool((low > 0 and cells_low > 0) or (high < 0 and cells_high < 0)),
    }
