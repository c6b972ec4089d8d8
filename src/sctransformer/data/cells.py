"""Reading h5ad files: names and obs at once, counts in chunks of rows, never the whole matrix of a large file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset
from scipy import sparse

from sctransformer.data.counts import check_counts
from sctransformer.errors import UserError


class CellFile:
    """An h5ad file opened for reading. Use as a context manager.

    Raises:
        UserError: the file is absent, cut, not HDF5, or not AnnData.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file.")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise UserError(
                f"{path}: is not a readable h5ad file; it is cut short or damaged ({_one_line(error)})."
            ) from error
        try:
            self.obs: pd.DataFrame = self._element("obs")
            self.genes: pd.Index = self._element("var").index.astype(str)
            self._matrix = self._open_matrix()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    def chunks(self, rows: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Checked raw counts, `rows` cells at a time: position of the first cell, and cells x genes in CSR.

        Raises:
            UserError: a value is no raw count, or the file breaks off.
        """
        cells, genes = list(self.obs.index.astype(str)), list(self.genes)
        for start in range(0, self.n_cells, rows):
            with self._damage_named(f"X cannot be read at cell {start}"):
                chunk = sparse.csr_matrix(self._matrix[start : start + rows])
                chunk.check_format(full_check=True)  # indices outside the matrix crash the process later
            check_counts(chunk, f"{self.path}: X", cells, genes, start)
            yield start, chunk

    @contextmanager
    def _damage_named(self, what: str) -> Iterator[None]:
        """h5py, anndata and scipy raise whatever they stumble over in a damaged file: say which file and what."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.path}: {what}; the file is damaged ({_one_line(error)}).") from error

    def _element(self, name: str) -> pd.DataFrame:
        with self._damage_named(f"{name} cannot be read"):
            if name not in self._file:
                raise UserError(f"{self.path}: has no {name!r}; expected an AnnData file (h5ad) with X, obs and var.")
            element = read_elem(self._file[name])
        if not isinstance(element, pd.DataFrame):
            raise UserError(f"{self.path}: {name} is no table; expected an AnnData file (h5ad).")
        return element

    def _open_matrix(self) -> h5py.Dataset | sparse.csr_matrix:
        with self._damage_named("X cannot be read"):
            if "X" not in self._file:
                raise UserError(f"{self.path}: has no X; expected raw counts there.")
            node = self._file["X"]
            if isinstance(node, h5py.Dataset):
                matrix = node
            else:
                matrix = sparse_dataset(node)
                if matrix.format == "csc":  # its rows cannot be sliced cheaply: convert once
                    columns = matrix.to_memory()
                    columns.check_format(full_check=True)
                    matrix = sparse.csr_matrix(columns)
        expected = (len(self.obs), len(self.genes))
        if tuple(matrix.shape) != expected:
            raise UserError(f"{self.path}: X has shape {tuple(matrix.shape)}, but obs and var say {expected}.")
        return matrix


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())  # HDF5 breaks lines


def read_cells(path: Path, rows: int = 4096) -> AnnData:
    """Read names, obs and checked counts of an h5ad into memory; X becomes CSR float32.

    Raises:
        UserError: as `CellFile`, and when the file has no cells or no genes, or names are not unique.
    """
    with CellFile(path) as file:
        for what, names in (("cells", file.obs.index), ("genes", file.genes)):
            if len(names) == 0:
                raise UserError(f"{path}: has no {what}.")
            if not names.is_unique:
                twice = names[names.duplicated()][0]
                raise UserError(f"{path}: names of {what} must be unique, but {twice!r} occurs more than once.")
        blocks = [chunk.astype(np.float32) for _, chunk in file.chunks(rows)]
        return AnnData(sparse.vstack(blocks, format="csr"), obs=file.obs, var=pd.DataFrame(index=file.genes))
