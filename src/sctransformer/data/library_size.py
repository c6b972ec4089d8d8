"""Library sizes, the total counts of each cell: from a column of obs if there is one, else the sum of its counts."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.errors import UserError

WHOLE_CELL = ("total_counts", "n_counts", "nCount_RNA")
"""Columns of scanpy, of older versions of scanpy, and of Seurat."""
LARGEST = 1e9
"""No cell or sample has this many molecules or reads."""
_NOTEWORTHY = 1.05
"""Ratio of library size to row sum above which a column is suggested."""


@dataclass(frozen=True)
class LibrarySizes:
    """Source of a file's library sizes."""

    obs: pd.DataFrame
    column: str | None
    """Column of obs; None: the sum of each row over all genes of the file."""
    source: str
    """Name of the file in errors."""
    counts_in: str = "X"
    """Place of the counts, see `CellFile.counts_in`."""

    def __str__(self) -> str:
        return f"sum of {self.counts_in}" if self.column is None else f"obs[{self.column!r}]"

    def of_chunk(self, start: int, counts_NF: sparse.csr_matrix) -> NDArray[np.float64]:
        """Library sizes of a chunk of cells; 0 is allowed for a cell without counts.

        Args:
            start: position of the first cell.
            counts_NF: counts of the cells over all genes of the file.

        Raises:
            UserError: as `checked_library_size`.
        """
        row_sums_N = np.asarray(counts_NF.sum(axis=1, dtype=np.float64)).ravel()
        if self.column is None:
            return row_sums_N
        column = self.obs[self.column].iloc[start : start + len(row_sums_N)]
        library_size_N = np.zeros(len(row_sums_N))
        to_check_N = ~((row_sums_N == 0) & (pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64) == 0))
        if to_check_N.any():
            library_size_N[to_check_N] = checked_library_size(column[to_check_N], row_sums_N[to_check_N], self.source)
        return library_size_N

    def larger_column(self, library_size_N: NDArray[np.floating]) -> str | None:
        """Column of obs with total counts that are clearly larger than the row sums; None if there is none.

        There is one in a file that was cut to some of its genes. Small differences are ignored, because genes of few
        cells are often filtered out.

        Args:
            library_size_N: library sizes of all cells of the file, from `of_chunk`.
        """
        if self.column is not None:
            return None
        for name in WHOLE_CELL:
            if name in self.obs:
                column_N = pd.to_numeric(self.obs[name], errors="coerce").to_numpy(dtype=np.float64)
                if np.mean(column_N > _NOTEWORTHY * library_size_N) > 0.5:
                    return name
        return None


def choose_library_sizes(obs: pd.DataFrame, column: str | None, source: str, counts_in: str = "X") -> LibrarySizes:
    """Choose the source of library sizes: `column`, or `obs["library_size"]` if it exists, or the sums of the counts.

    Raises:
        UserError: the given column does not exist, or holds dates or yes/no values.
    """
    if column is not None and column not in obs:
        present = ", ".join(map(str, obs.columns)) or "none"
        raise UserError(
            f"{source}: obs has no column {column!r} (columns: {present}); choose the one with library sizes."
        )
    if column is None and OBS.library_size in obs:
        column = OBS.library_size
    if column is not None:
        _require_numbers(obs[column], source)
    return LibrarySizes(obs, column, source, counts_in)


def _require_numbers(column: pd.Series, source: str) -> None:
    """Refuse a column of dates or yes/no values, which pandas would turn into numbers."""
    if column.dtype.kind in "mMb" or isinstance(column.dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        raise UserError(
            f"{source}: obs[{column.name!r}] holds values of type {column.dtype}, expected the counts of the whole "
            "cell; choose another column with --library-size-column (library_size_column in Python and in a job file)."
        )


def checked_library_size(column: pd.Series, row_sums_N: NDArray[np.floating], source: str) -> NDArray[np.float64]:
    """Check library sizes; a value that is smaller than the row sum by rounding only becomes the row sum.

    Args:
        column: library size of each cell.
        row_sums_N: sum of the counts of each cell in the file.
        source: name of the file in errors.

    Returns:
        Library sizes, float64.

    Raises:
        UserError: a value is not a positive number, is larger than any library, or is smaller than the sum of the
            cell's counts.
    """
    values_N = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    for bad_N, found in (
        (~(np.isfinite(values_N) & (values_N > 0)), "not a positive number"),
        (values_N > LARGEST, f"larger than any library ({LARGEST:,.0f})"),
        (values_N < row_sums_N - 0.5, "smaller than the sum of the cell's counts in the file"),
    ):
        if bad_N.any():
            first = int(np.argmax(bad_N))
            raise UserError(
                f"{source}: obs[{column.name!r}] of cell {column.index[first]!r} is {column.iloc[first]}, {found}; "
                "expected the counts of the whole cell."
            )
    return np.maximum(values_N, row_sums_N)
