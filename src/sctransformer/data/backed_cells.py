"""Prepared cells that stay on disk: read in chunks of rows, sparse until a batch needs them."""

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
"""Cells that are read together when some of them are asked for by position."""
_GAP = 64
"""Rows of other cells that are read along rather than skipped."""


class SparseCells:
    """A few cells in memory, as CSR."""

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
        for index, row in enumerate(rows_N):  # quicker than scipy for the handful that is asked for
            stored = slice(matrix.indptr[row], matrix.indptr[row + 1])
            counts_NG[index, matrix.indices[stored]] = matrix.data[stored]
        return CellArrays(counts_NG, self._library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> "SparseCells":
        """Cells beside one another."""
        part = slice(start, stop)
        return SparseCells(self._counts_NG[part], self._library_size_N[part], self.labels_N[part])


class BackedCells:
    """Some cells of a prepared file, h5ad or zarr, in the order of the file.

    The file is opened when the first cell is asked for, once in each process that holds these cells. In memory are the
    labels, library sizes and places of the cells, twenty bytes a cell, and the last chunks read.

    Args:
        path: the file; its X is CSR.
        places_N: rows of the file, ascending.
        library_size_N, labels_N: of these cells.
        n_genes: columns of X.
    """

    in_memory = False

    def __init__(
        self,
        path: Path,
        places_N: NDArray[np.int64],
        library_size_N: NDArray[np.float32],
        labels_N: NDArray[np.int64],
        n_genes: int,
    ) -> None:
        self._path, self._places_N, self._library_size_N = path, places_N, library_size_N
        self.labels_N, self.n_genes = labels_N, n_genes
        self._matrix: Any = None
        self._recent = functools.lru_cache(maxsize=2)(self._read_chunk)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process without the open file and what was read of it."""
        return type(self), (self._path, self._places_N, self._library_size_N, self.labels_N, self.n_genes)

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows_N: NDArray[np.integer]) -> CellArrays:
        """Cells by their position; those near one another are best asked for together."""
        rows_N = np.asarray(rows_N)
        counts_NG = np.empty((len(rows_N), self.n_genes), dtype=np.float32)
        chunk_N = rows_N // CHUNK
        for number in np.unique(chunk_N):
            here_N = chunk_N == number
            counts_NG[here_N] = self._recent(int(number)).take(rows_N[here_N] - number * CHUNK).counts_NG
        return CellArrays(counts_NG, self._library_size_N[rows_N], self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> SparseCells:
        """Cells beside one another, read from the file.

        Raises:
            UserError: the file cannot be read, or is not what it was.
        """
        stop = min(stop, len(self))
        places_N = self._places_N[start:stop]
        try:
            if self._matrix is None:
                self._matrix = _open_matrix(self._path)
            blocks = [
                sparse.csr_matrix(self._matrix[first:last], dtype=np.float32)[inside_N]
                for first, last, inside_N in _spans(places_N)
            ]
        except Exception as error:  # h5py, zarr and anndata raise whatever they stumble over
            why = one_line(error)
            raise UserError(f"{self._path}: X cannot be read at row {places_N[0]} ({why}); run `dvc repro`.") from error
        counts_NG = blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
        return SparseCells(counts_NG, self._library_size_N[start:stop], self.labels_N[start:stop])

    def _read_chunk(self, number: int) -> SparseCells:
        return self.chunk(number * CHUNK, (number + 1) * CHUNK)


def _open_matrix(path: Path) -> Any:
    if path.is_dir():
        import zarr  # half a second

        return sparse_dataset(zarr.open_group(path, mode="r")["X"])
    file = h5py.File(path, "r")
    limit_metadata_cache(file)
    return sparse_dataset(file["X"])


def _spans(places_N: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Runs of rows that are read at once, first and one past the last, and which rows of each are wanted."""
    breaks = np.flatnonzero(np.diff(places_N) > _GAP) + 1
    for part_N in np.split(places_N, breaks):
        first = int(part_N[0])
        yield first, int(part_N[-1]) + 1, part_N - first
