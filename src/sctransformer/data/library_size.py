"""Counts of the whole cell: from a column of obs where there is one, else from the row."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.errors import UserError

_WHOLE_CELL = ("total_counts", "n_counts", "nCount_RNA")
"""Columns of scanpy's, of older scanpy's and of Seurat's."""
_NOTEWORTHY = 1.05
"""Times a row sum."""


@dataclass(frozen=True)
class LibrarySizes:
    """Where a file's library sizes come from."""

    obs: pd.DataFrame
    column: str | None
    """None: the sum of each row over all genes of the file."""
    source: str
    """What to call the file in errors."""
    counts_in: str = "X"
    """Where the row stands, see `CellFile.counts_in`."""

    def __str__(self) -> str:
        return f"sum of {self.counts_in}" if self.column is None else f"obs[{self.column!r}]"

    def of_chunk(self, start: int, counts_NF: sparse.csr_matrix) -> NDArray[np.float64]:
        """Library sizes of the cells of a chunk whose first cell is `start`.

        A cell without any count may have the size 0.

        Raises:
            UserError: as `checked_library_size`.
        """
        row_sums_N = np.asarray(counts_NF.sum(axis=1), dtype=np.float64).ravel()
        if self.column is None:
            return row_sums_N
        column = self.obs[self.column].iloc[start : start + len(row_sums_N)]
        library_size_N = np.zeros(len(row_sums_N))
        to_check_N = ~((row_sums_N == 0) & (pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64) == 0))
        if to_check_N.any():
            library_size_N[to_check_N] = checked_library_size(column[to_check_N], row_sums_N[to_check_N], self.source)
        return library_size_N

    def larger_column(self, library_size_N: NDArray[np.floating]) -> str | None:
        """Column of obs that other tools fill with counts of the whole cell, where it says more than the row sums do.

        It does in a file that was cut to some of its genes. Genes that no or few cells have are left out by anybody:
        a little more in the column says nothing.

        Args:
            library_size_N: of all cells of the file, as `of_chunk` gave them.
        """
        if self.column is not None:
            return None
        for name in _WHOLE_CELL:
            if name in self.obs:
                told_N = pd.to_numeric(self.obs[name], errors="coerce").to_numpy(dtype=np.float64)
                if np.mean(told_N > _NOTEWORTHY * library_size_N) > 0.5:
                    return name
        return None


def choose_library_sizes(obs: pd.DataFrame, column: str | None, source: str, counts_in: str = "X") -> LibrarySizes:
    """Library sizes from `column`; None takes `obs["library_size"]` where there is one, else the sums of the counts.

    Raises:
        UserError: the column that was named is not there.
    """
    if column is not None and column not in obs:
        there = ", ".join(map(str, obs.columns)) or "none"
        raise UserError(
            f"{source}: obs has no column {column!r} (columns: {there}); choose the one with library sizes."
        )
    if column is None and OBS.library_size in obs:
        column = OBS.library_size
    return LibrarySizes(obs, column, source, counts_in)


def checked_library_size(column: pd.Series, row_sums_N: NDArray[np.floating], source: str) -> NDArray[np.float64]:
    """Library sizes as float64, cells; one that rounding made a little smaller than the row's sum becomes the sum.

    Raises:
        UserError: a value is no positive number, or is smaller than the counts of the cell that are there.
    """
    values_N = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    for bad_N, found in (
        (~(np.isfinite(values_N) & (values_N > 0)), "not a positive number"),
        (values_N < row_sums_N - 0.5, "smaller than the sum of the cell's counts in the file"),
    ):
        if bad_N.any():
            first = int(np.argmax(bad_N))
            raise UserError(
                f"{source}: obs[{column.name!r}] of cell {column.index[first]!r} is {column.iloc[first]}, {found}; "
                "expected the counts of the whole cell."
            )
    return np.maximum(values_N, row_sums_N)
