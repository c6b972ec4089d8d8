"""Prepared cells backed by their file: read in chunks of rows and kept sparse until a batch needs them."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import sparse_dataset
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.arrays import CellArrays
from sctransformer.data.obs_table import limit_metadata_cache
from sctransformer.errors import UserError, one_line

CHUNK = 512
"""Cells read together when some of them are requested by position."""
_GAP = 64
"""Largest gap between two requested rows that are read in one piece."""


class SparseCells:
    """Cells in memory, as a CSR matrix."""

    in_memory = True

    def __init__(
        self, counts_NG: sparse.csr_matrix, library_size_N: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> None:
        self._counts_NG, self._library_size_N = counts_NG, library_size_N
        self.labels_N = labels_N

    @property
    def n_genes(self) -> int:
        """Genes of the panel."""
        return int(self._counts_NG.shape[1])

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows_N: NDArray[np.integer]) -> CellArrays:
        """Cells by their position."""
        matrix = self._counts_NG
        counts_NG = np.zeros((len(rows_N), self.n_genes), dtype=np.float32)
        for index, row in enumerate(rows_N):  # faster than scipy for a few rows
            stored = slice(matrix.indptr[row], matrix.indptr[row + 1])
            counts_NG[index, matrix.indices[stored]] = matrix.data[stored]
        return CellArrays(counts_NG, self._library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> "SparseCells":
        """Consecutive cells, from `start` up to `stop`."""
        part = slice(start, stop)
        return SparseCells(self._counts_NG[part], self._library_size_N[part], self.labels_N[part])


class BackedCells:
    """Some cells of a prepared file, h5ad or zarr, in file order.

    The file is opened on the first access, once per process. Labels, library sizes and row numbers are in memory,
    twenty bytes per cell, and the last chunks read.

    Args:
        path: the file; its X is CSR.
        file_rows_N: row numbers in the file, ascending.
        library_size_N: total counts of each cell.
        labels_N: index of each cell's type; -1 for a cell without a label.
        n_genes: number of columns of X.
    """

    in_memory = False

    def __init__(
        self,
        path: Path,
        file_rows_N: NDArray[np.int64],
        library_size_N: NDArray[np.float32],
        labels_N: NDArray[np.int64],
        n_genes: int,
    ) -> None:
        self._path, self._file_rows_N, self._library_size_N = path, file_rows_N, library_size_N
        self.labels_N, self.n_genes = labels_N, n_genes
        self._matrix: Any = None
        self._recent = functools.lru_cache(maxsize=2)(self._read_chunk)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the open file and the chunks read."""
        return type(self), (self._path, self._file_rows_N, self._library_size_N, self.labels_N, self.n_genes)

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows_N: NDArray[np.integer]) -> CellArrays:
        """Cells by their position; fastest if positions are close to one another."""
        rows_N = np.asarray(rows_N)
        counts_NG = np.empty((len(rows_N), self.n_genes), dtype=np.float32)
        chunk_N = rows_N // CHUNK
        for number in np.unique(chunk_N):
            here_N = chunk_N == number
            counts_NG[here_N] = self._recent(int(number)).take(rows_N[here_N] - number * CHUNK).counts_NG
        return CellArrays(counts_NG, self._library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> SparseCells:
        """Consecutive cells, from `start` up to `stop`, read from the file.

        Raises:
            UserError: the file cannot be read, or has changed.
        """
        stop = min(stop, len(self))
        file_rows_N = self._file_rows_N[start:stop]
        try:
            if self._matrix is None:
                self._matrix = _open_matrix(self._path)
            blocks = [
                sparse.csr_matrix(self._matrix[first:last], dtype=np.float32)[inside_N]
                for first, last, inside_N in _spans(file_rows_N)
            ]
        except Exception as error:  # h5py, zarr and anndata raise many types of errors
            why = one_line(error)
            raise UserError(
                f"{self._path}: X cannot be read at row {file_rows_N[0]} ({why}); run `dvc repro`."
            ) from error
        counts_NG = blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
        return SparseCells(counts_NG, self._library_size_N[start:stop], self.labels_N[start:stop])

    def _read_chunk(self, number: int) -> SparseCells:
        return self.chunk(number * CHUNK, (number + 1) * CHUNK)


def _open_matrix(path: Path) -> Any:
    if path.is_dir():
        import zarr  # takes half a second to import

        return sparse_dataset(zarr.open_group(path, mode="r")["X"])
    file = h5py.File(path, "r")
    limit_metadata_cache(file)
    return sparse_dataset(file["X"])


def _spans(rows_N: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Ranges of rows to read, first and one past the last, and the requested rows within each."""
    breaks = np.flatnonzero(np.diff(rows_N) > _GAP) + 1
    for part_N in np.split(rows_N, breaks):
        first = int(part_N[0])
        yield first, int(part_N[-1]) + 1, part_N - first
