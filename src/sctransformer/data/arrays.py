"""Cells as numpy arrays, as training and evaluation use them, and the sources that they are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

NO_LABEL = -1
"""Index of a cell without a label."""


@dataclass(frozen=True)
class CellArrays:
    """Counts, library sizes and labels of cells, over the genes of the panel."""

    counts_NG: NDArray[np.float32]
    """Raw counts, cells x genes of the panel."""
    library_size_N: NDArray[np.float32]
    """Total counts per cell, over all genes."""
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

    @property
    def n_genes(self) -> int:
        """Number of genes in the panel."""
        return int(self.counts_NG.shape[1])

    @property
    def in_memory(self) -> bool:
        """Always true."""
        return True

    def take(self, rows_N: NDArray[np.integer]) -> "CellArrays":
        """Return the cells at these positions."""
        return CellArrays(self.counts_NG[rows_N], self.library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> "CellArrays":
        """Return the cells from `start` to `stop`, without copying them."""
        part = slice(start, stop)
        return CellArrays(self.counts_NG[part], self.library_size_N[part], self.labels_N[part])


class CellSource(Protocol):
    """Cells in memory, or on disk and read on demand."""

    @property
    def labels_N(self) -> NDArray[np.int64]:
        """Index of each cell's type in the label list; -1 for a cell without a label."""

    @property
    def n_genes(self) -> int:
        """Number of genes in the panel."""

    @property
    def in_memory(self) -> bool:
        """Whether all cells are in memory, so that any of them can be read at the same speed."""

    def __len__(self) -> int: ...

    def take(self, rows_N: NDArray[np.integer]) -> CellArrays:
        """Return the cells at these positions."""

    def chunk(self, start: int, stop: int) -> "CellSource":
        """Return the cells from `start` to `stop`, in memory."""


class TrainingCells(NamedTuple):
    """Cells that a model is trained on."""

    training: CellSource
    """Labelled training cells."""
    validation: CellSource | None = None
    """Labelled cells for choosing the best epoch; without them the last epoch is kept."""
    unlabelled: CellSource | None = None
    """Training cells whose labels are unknown or not used; for pretraining and principal components."""


def take(parts: Sequence[CellSource], rows_N: NDArray[np.integer]) -> CellArrays:
    """Return cells by their position in the concatenation of all parts, without concatenating them.

    Raises:
        IndexError: a position is outside the parts.
    """
    rows_N = np.asarray(rows_N)
    starts = np.cumsum([0, *map(len, parts)])
    if len(rows_N) and not (rows_N.min() >= 0 and rows_N.max() < starts[-1]):
        raise IndexError(f"rows {rows_N.min()} to {rows_N.max()} of {starts[-1]} cells")
    part_N = np.searchsorted(starts, rows_N, side="right") - 1
    counts_NG = np.empty((len(rows_N), parts[0].n_genes), dtype=np.float32)
    library_size_N = np.empty(len(rows_N), dtype=np.float32)
    labels_N = np.empty(len(rows_N), dtype=np.int64)
    for index, part in enumerate(parts):
        here_N = part_N == index
        if not here_N.any():
            continue
        taken = part.take(rows_N[here_N] - starts[index])
        counts_NG[here_N] = taken.counts_NG
        library_size_N[here_N] = taken.library_size_N
        labels_N[here_N] = taken.labels_N
    return CellArrays(counts_NG, library_size_N, labels_N)
