"""How the arms of a study are compared: which seeds share a search, which point wins, intervals of differences."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student_t

from sctransformer.evaluation.bootstrap import LEVEL, percentile_interval


class _Columns(NamedTuple):
    """Columns of the table of results, which has one row per name, percentage and seed."""

    name: str = "name"
    """Arm or baseline."""
    percent: str = "percent"
    seed: str = "seed"
    score: str = "macro_f1"
    resampled: str = "resampled"
    """Scores of resampled test cells (see `metrics.resampled_macro_f1`); equal test cells have equal resamples."""


RESULT: Final = _Columns()


def seeds_searched_together(
    labelled: Mapping[int, frozenset[Hashable]], tested: Mapping[int, frozenset[Hashable]]
) -> list[tuple[int, ...]]:
    """Groups of seeds whose validation scores choose a point of the search together.

    With more seeds the choice depends less on a few validation cells. But a cell that is labelled under one seed may be
    a test cell under another, and its label would then choose a model that is tested on it. So all seeds form one group
    if no cell is labelled under one seed and tested under another; otherwise each seed is a group of its own.

    Args:
        labelled, tested: names of the cells, by seed.
    """
    all_labelled: frozenset[Hashable] = frozenset().union(*labelled.values())
    all_tested: frozenset[Hashable] = frozenset().union(*tested.values())
    seeds = sorted(labelled)
    return [tuple(seeds)] if all_labelled.isdisjoint(all_tested) else [(seed,) for seed in seeds]


def best_point(scores: Sequence[Sequence[float]]) -> int:
    """Index of the search point with the highest mean validation score; the first one wins a tie.

    Args:
        scores: scores of each point over inner splits and seeds, the same ones for every point.

    Raises:
        ValueError: a point has no scores, or not as many as the others.
    """
    if not scores or not scores[0] or len({len(own) for own in scores}) > 1:
        raise ValueError(f"points have {[len(own) for own in scores]} scores; expected the same number, at least one")
    return int(np.argmax(np.mean(np.asarray(scores, dtype=np.float64), axis=1)))


def t_interval(values: NDArray[np.floating], level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of a mean; NaN for fewer than two values."""
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    half = float(student_t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    mean = float(np.mean(values))
    return mean - half, mean + half


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds.

    Args:
        results: table with the columns of RESULT.

    Returns:
        One row per name and percentage, in order of appearance: name, percent, seeds, mean, sd (sample standard
        deviation; NaN with one seed).
    """
    grouped = results.groupby([RESULT.name, RESULT.percent], sort=False)[RESULT.score]
    return grouped.agg(seeds="count", mean="mean", sd="std").reset_index()


def paired_differences(results: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
    """Differences between each name and each reference, on the same cells with the same seeds.

    Two intervals, for two sources of chance: labelled cells and initial weights, and test cells.

    - low, high: t interval of the paired differences over seeds. It covers other labelled cells and weights; where all
      seeds share their test cells, only for these test cells. With three seeds it is wide.
    - cells_low, cells_high: percentile interval of the mean difference when test cells are resampled within their
      types, both names on the same resample. It covers other test cells, only for these trained models.

    `shown` is true if both intervals exclude zero on the same side. Intervals are not corrected for multiple
    comparisons.

    Args:
        results: table with the columns of RESULT.
        references: names to compare with; names that are not in `results` are skipped.

    Returns:
        One row per name, reference and percentage with at least one seed in common: name, reference, percent, seeds,
        difference, sd, low, high, cells_low, cells_high, shown.
    """
    rows = []
    present = list(dict.fromkeys(results[RESULT.name]))
    score: dict[tuple[str, float, int], float] = {}
    resampled: dict[tuple[str, float, int], NDArray[np.float64]] = {}
    for row in results.to_dict("records"):
        key = (str(row[RESULT.name]), float(row[RESULT.percent]), int(row[RESULT.seed]))
        score[key], resampled[key] = float(row[RESULT.score]), np.asarray(row[RESULT.resampled], dtype=np.float64)
    for percent in dict.fromkeys(results[RESULT.percent]):
        for reference in (name for name in references if name in present):
            for name in (name for name in present if name != reference):
                pairs = [
                    ((name, percent, seed), (reference, percent, seed))
                    for seed in dict.fromkeys(results[RESULT.seed])
                    if (name, percent, seed) in score and (reference, percent, seed) in score
                ]
                if pairs:
                    difference = _difference(
                        np.array([score[one] - score[other] for one, other in pairs]),
                        np.mean([resampled[one] - resampled[other] for one, other in pairs], axis=0),
                    )
                    rows.append({"name": name, "reference": reference, "percent": percent} | difference)
    return pd.DataFrame(rows)


def _difference(differences: NDArray[np.float64], resampled_T: NDArray[np.float64]) -> dict[str, Any]:
    """Mean and intervals of the differences of one pair; `differences` has one value per seed."""
    low, high = t_interval(differences)
    cells_low, cells_high = percentile_interval(resampled_T)
    return {
        "seeds": len(differences),
        "difference": float(differences.mean()),
        "sd": float(np.std(differences, ddof=1)) if len(differences) > 1 else float("nan"),
        "low": low,
        "high": high,
        "cells_low": cells_low,
        "cells_high": cells_high,
        "shown": bool((low > 0 and cells_low > 0) or (high < 0 and cells_high < 0)),
    }
