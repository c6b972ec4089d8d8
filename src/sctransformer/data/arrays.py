"""Cells as plain numpy arrays: the form in which training and evaluation see them, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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

    @property
    def n_genes(self) -> int:
        """Genes of the panel."""
        return int(self.counts_NG.shape[1])

    @property
    def in_memory(self) -> bool:
        """They are."""
        return True

    def take(self, rows_N: NDArray[np.integer]) -> "CellArrays":
        """Cells by their position."""
        return CellArrays(self.counts_NG[rows_N], self.library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> "CellArrays":
        """Cells beside one another."""
        part = slice(start, stop)
        return CellArrays(self.counts_NG[part], self.library_size_N[part], self.labels_N[part])


class CellSource(Protocol):
    """Cells that are in memory, or on disk until they are asked for."""

    @property
    def labels_N(self) -> NDArray[np.int64]:
        """Index of each cell's type in the label list; -1 for a cell without a label."""

    @property
    def n_genes(self) -> int:
        """Genes of the panel."""

    @property
    def in_memory(self) -> bool:
        """Whether any cell is at hand as soon as any other."""

    def __len__(self) -> int: ...

    def take(self, rows_N: NDArray[np.integer]) -> CellArrays:
        """Cells by their position."""

    def chunk(self, start: int, stop: int) -> "CellSource":
        """Cells beside one another, in memory."""


class TrainingCells(NamedTuple):
    """The cells of a training."""

    training: CellSource
    """Labelled training cells."""
    validation: CellSource | None = None
    """Labelled cells that choose the best epoch; without them the last epoch is kept."""
    unlabelled: CellSource | None = None
    """Training cells whose labels are unknown or not used; for pretraining and principal components."""


def take(parts: Sequence[CellSource], rows_N: NDArray[np.integer]) -> CellArrays:
    """Cells by their position in all parts put together, which are not put together for that.

    Raises:
        IndexError: a position that no part has.
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
