"""Cells as plain numpy arrays: the form in which training and evaluation see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1
"""In place of a label's index, for a cell without a label."""


@dataclass(frozen=True)
class CellArrays:
    """Cells over the genes of the panel."""

    counts_NG: NDArray[np.float32]
    """Raw counts, cells x genes of the panel."""
    library_size_N: NDArray[np.float32]
    """Counts of the whole cell."""
    labels_N: NDArray[np.int64]
    """Index of each cell's type in the label list; -1 for a cell without a label."""

    def __post_init__(self) -> None:
        n_cells = len(self.counts_NG)
        if len(self.library_size_N) != n_cells or len(self.labels_N) != n_cells:
            raise ValueError(
                f"{n_cells} cells do not match {len(self.library_size_N)} library sizes and {len(self.labels_N)} labels"
            )

    def __len__(self) -> int:
        return len(self.counts_NG)


class TrainingCells(NamedTuple):
    """All that a training sees."""

    training: CellArrays
    """Cells with their label."""
    validation: CellArrays
    """Cells with their label, by which epochs are chosen."""
    unlabelled: CellArrays
    """Training cells without a label, or whose label is not to be used; for self-supervision. May be none."""


def take(parts: Sequence[CellArrays], rows_N: NDArray[np.integer]) -> CellArrays:
    """Cells by their position in all parts put together, which are not put together for that.

    Raises:
        IndexError: a position that no part has.
    """
    rows_N = np.asarray(rows_N)
    starts = np.cumsum([0, *map(len, parts)])
    if len(rows_N) and not (rows_N.min() >= 0 and rows_N.max() < starts[-1]):
        raise IndexError(f"rows {rows_N.min()} to {rows_N.max()} of {starts[-1]} cells")
    part_N = np.searchsorted(starts, rows_N, side="right") - 1
    counts_NG = np.empty((len(rows_N), parts[0].counts_NG.shape[1]), dtype=np.float32)
    library_size_N = np.empty(len(rows_N), dtype=np.float32)
    labels_N = np.empty(len(rows_N), dtype=np.int64)
    for index, part in enumerate(parts):
        here_N = part_N == index
        inside_N = rows_N[here_N] - starts[index]
        counts_NG[here_N] = part.counts_NG[inside_N]
        library_size_N[here_N] = part.library_size_N[inside_N]
        labels_N[here_N] = part.labels_N[inside_N]
    return CellArrays(counts_NG, library_size_N, labels_N)
