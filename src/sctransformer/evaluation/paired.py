"""Two models on the same test cells: the difference of their macro-F1, with an interval from a paired bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS: Final = 1000
LEVEL: Final = 0.95
FEWEST_DONORS: Final = 4
"""With fewer donors, drawing donors says little; cells are drawn instead."""


NEGLIGIBLE: Final = 0.01
"""Two models that label a smaller share of cells differently decide alike."""


@dataclass(frozen=True)
class PairedComparison:
    """Of one model with another."""

    cells: int
    one: float
    """Macro-F1 of the first."""
    other: float
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    unit: str
    """What was drawn again: `cells` within their types, or `donors`."""
    differences_B: NDArray[np.float64]
    """One difference for each draw."""

    @property
    def difference(self) -> float:
        """How much higher the first is."""
        return self.one - self.other

    def share_not_below(self, margin: float) -> float:
        """Share of the draws in which the first is no more than `margin` under the other."""
        return float((self.differences_B >= -margin - 1e-12).mean())


def compare(
    truth_N: Sequence[str],
    one_N: Sequence[str],
    other_N: Sequence[str],
    seed: int,
    donors_N: Sequence[str] | None = None,
) -> PairedComparison:
    """Compare the labels that two models give the same cells.

    Cells of one donor are alike, so where there are at least FEWEST_DONORS, whole donors are drawn again with
    replacement: the interval then holds for other donors. Else cells are drawn within their types. Both models are
    scored on the same draws. Only counts of (truth, first, second) are drawn, so memory does not grow with cells.

    Args:
        truth_N, one_N, other_N: labels of each cell, by name; models may know other labels than the truth.
        seed: of the draws.
        donors_N: donor of each cell; None: not known.

    Raises:
        ValueError: there is no cell, or lists differ in length.
    """
    if not len(truth_N) or not len(truth_N) == len(one_N) == len(other_N):
        raise ValueError(f"{len(truth_N)} cells, {len(one_N)} and {len(other_N)} labels; expected as many, and some")
    classes = sorted({*truth_N, *one_N, *other_N})
    position = {name: index for index, name in enumerate(classes)}
    coded = [np.array([position[name] for name in names], dtype=np.int64) for names in (truth_N, one_N, other_N)]
    kinds_K3, kind_N = np.unique(np.stack(coded, axis=1), axis=0, return_inverse=True)
    kind_N = kind_N.ravel()
    donors = sorted(set(donors_N)) if donors_N is not None else []
    rng = np.random.default_rng(seed)
    if donors_N is not None and len(donors) >= FEWEST_DONORS:
        unit, times_BK = "donors", _donors_drawn(rng, kind_N, len(kinds_K3), donors_N, donors)
    else:
        unit, times_BK = "cells", _cells_drawn(rng, kind_N, kinds_K3[:, 0])
    all_1K = np.bincount(kind_N, minlength=len(kinds_K3))[None, :].astype(np.float64)
    (one,), (other,) = (_macro_f1(all_1K, kinds_K3, side, len(classes)) for side in (1, 2))
    differences_B = _macro_f1(times_BK, kinds_K3, 1, len(classes)) - _macro_f1(times_BK, kinds_K3, 2, len(classes))
    low, high = (float(bound) for bound in np.quantile(differences_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return PairedComparison(len(truth_N), float(one), float(other), low, high, unit, differences_B)


def disagreement(one_N: Sequence[str], other_N: Sequence[str]) -> float:
    """Share of cells to which two models give another label, 0 to 1: macro-F1 may be equal where labels are not."""
    return sum(one != other for one, other in zip(one_N, other_N, strict=True)) / len(one_N)


def _cells_drawn(
    rng: np.random.Generator, kind_N: NDArray[np.int64], truth_K: NDArray[np.int64]
) -> NDArray[np.float64]:
    cells_K = np.bincount(kind_N, minlength=len(truth_K))
    times_BK = np.zeros((BOOTSTRAPS, len(truth_K)))
    for label in np.unique(truth_K):
        of_label = np.flatnonzero(truth_K == label)
        cells = cells_K[of_label]
        times_BK[:, of_label] = rng.multinomial(cells.sum(), cells / cells.sum(), size=BOOTSTRAPS)
    return times_BK


def _donors_drawn(
    rng: np.random.Generator, kind_N: NDArray[np.int64], n_kinds: int, donors_N: Sequence[str], donors: Sequence[str]
) -> NDArray[np.float64]:
    position = {name: index for index, name in enumerate(donors)}
    cells_DK = np.zeros((len(donors), n_kinds))
    np.add.at(cells_DK, (np.array([position[name] for name in donors_N]), kind_N), 1.0)
    times_BD = rng.multinomial(len(donors), np.full(len(donors), 1 / len(donors)), size=BOOTSTRAPS)
    return np.asarray(times_BD @ cells_DK, dtype=np.float64)


def _macro_f1(
    times_BK: NDArray[np.float64], kinds_K3: NDArray[np.int64], side: int, n_classes: int
) -> NDArray[np.float64]:
    """Macro-F1 over the classes that are true or predicted, as scikit-learn has it."""
    classes_C = np.arange(n_classes)
    true_KC = (kinds_K3[:, 0, None] == classes_C).astype(np.float64)
    said_KC = (kinds_K3[:, side, None] == classes_C).astype(np.float64)
    right_BC, involved_BC = times_BK @ (true_KC * said_KC), times_BK @ (true_KC + said_KC)
    f1_BC = 2.0 * right_BC / np.maximum(involved_BC, 1.0)
    return np.asarray(f1_BC.sum(axis=1) / np.maximum((involved_BC > 0).sum(axis=1), 1))
