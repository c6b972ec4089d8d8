"""Compare two models on the same test cells: the difference of their macro-F1, with a paired bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sctransformer.evaluation.bootstrap import RESAMPLES, percentile_interval, weighted_macro_f1

FEWEST_DONORS: Final = 4
"""With fewer donors an interval over donors is unreliable, and cells are resampled instead."""
NEGLIGIBLE: Final = 0.01
"""Two models whose labels differ on a smaller share of cells count as equal."""


@dataclass(frozen=True)
class PairedComparison:
    """Macro-F1 of two models on the same cells."""

    cells: int
    one: float
    """Macro-F1 of the first model."""
    other: float
    """Macro-F1 of the second model."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    unit: str
    """What was resampled: `cells` within their types, or `donors`."""
    differences_T: NDArray[np.float64]
    """Difference of macro-F1 in each resample."""

    @property
    def difference(self) -> float:
        """Macro-F1 of the first model minus that of the second."""
        return self.one - self.other

    def share_not_below(self, margin: float) -> float:
        """Share of the resamples in which the first model is at most `margin` below the second."""
        return float((self.differences_T >= -margin - 1e-12).mean())


def compare(
    truth_N: Sequence[str],
    one_N: Sequence[str],
    other_N: Sequence[str],
    seed: int,
    donors_N: Sequence[str] | None = None,
) -> PairedComparison:
    """Compare the labels that two models give the same cells.

    With at least FEWEST_DONORS donors, whole donors are resampled, because cells of one donor are not independent: the
    interval then describes what to expect from other donors. Otherwise cells are resampled within their types. Both
    models are scored on the same resamples. Cells with the same three labels (true, first model, second model) are
    counted together, so memory does not grow with the number of cells.

    Args:
        truth_N, one_N, other_N: label of each cell, by name; a model may use labels that are not among the true ones.
        seed: seed of the bootstrap.
        donors_N: donor of each cell; None if unknown.

    Raises:
        ValueError: there are no cells, or the lists differ in length.
    """
    if not len(truth_N) or not len(truth_N) == len(one_N) == len(other_N):
        raise ValueError(
            f"{len(truth_N)} cells, {len(one_N)} and {len(other_N)} labels; expected one label per cell and model"
        )
    classes = sorted({*truth_N, *one_N, *other_N})
    position = {name: index for index, name in enumerate(classes)}
    coded = [np.array([position[name] for name in names], dtype=np.int64) for names in (truth_N, one_N, other_N)]
    groups, group_N = np.unique(np.stack(coded, axis=1), axis=0, return_inverse=True)
    group_N = group_N.ravel()
    truth, one, other = groups.T
    donors = sorted(set(donors_N)) if donors_N is not None else []
    rng = np.random.default_rng(seed)
    if donors_N is not None and len(donors) >= FEWEST_DONORS:
        unit, counts = "donors", _resampled_donors(rng, group_N, len(groups), donors_N, donors)
    else:
        unit, counts = "cells", _resampled_cells(rng, group_N, truth)
    observed = np.bincount(group_N, minlength=len(groups))[None, :].astype(np.float64)
    scores = [float(weighted_macro_f1(observed, truth, labels, len(classes))[0]) for labels in (one, other)]
    differences_T = weighted_macro_f1(counts, truth, one, len(classes)) - weighted_macro_f1(
        counts, truth, other, len(classes)
    )
    low, high = percentile_interval(differences_T)
    return PairedComparison(len(truth_N), scores[0], scores[1], low, high, unit, differences_T)


def disagreement(one_N: Sequence[str], other_N: Sequence[str]) -> float:
    """Share of cells (0 to 1) to which two models give different labels; it can be high at equal macro-F1."""
    return sum(one != other for one, other in zip(one_N, other_N, strict=True)) / len(one_N)


def _resampled_cells(
    rng: np.random.Generator, group_N: NDArray[np.int64], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cells of each group in each resample, resamples x groups; the number of cells of each type is fixed."""
    group_sizes = np.bincount(group_N, minlength=len(truth))
    counts = np.zeros((RESAMPLES, len(truth)))
    for label in np.unique(truth):
        of_label = np.flatnonzero(truth == label)
        sizes = group_sizes[of_label]
        counts[:, of_label] = rng.multinomial(sizes.sum(), sizes / sizes.sum(), size=RESAMPLES)
    return counts


def _resampled_donors(
    rng: np.random.Generator, group_N: NDArray[np.int64], n_groups: int, donors_N: Sequence[str], donors: Sequence[str]
) -> NDArray[np.float64]:
    """Cells of each group in each resample of whole donors, resamples x groups."""
    position = {name: index for index, name in enumerate(donors)}
    cells_of_donor = np.zeros((len(donors), n_groups))
    np.add.at(cells_of_donor, (np.array([position[name] for name in donors_N]), group_N), 1.0)
    times_chosen = rng.multinomial(len(donors), np.full(len(donors), 1 / len(donors)), size=RESAMPLES)
    return np.asarray(times_chosen @ cells_of_donor, dtype=np.float64)
