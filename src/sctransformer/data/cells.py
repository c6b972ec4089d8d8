"""Reading cells from AnnData, in a file (h5ad or zarr) or in memory: obs and var whole, raw counts in chunks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sctransformer.data.counts import check_counts, find_fault
from sctransformer.data.matrix import RowMatrix, Starts, open_matrix
from sctransformer.data.obs_table import limit_metadata_cache, read_table
from sctransformer.errors import BusyError, UserError, one_line

CHUNK_CELLS = 4096
"""Default number of cells per chunk: tens of megabytes."""

X, RAW = "X", "raw.X"
LAYERS_OF_COUNTS = ("counts", "raw_counts", "raw", "count", "umi", "umis")
"""Layers that usually hold raw counts, tried before the other layers."""
RateGenes = Callable[[pd.DataFrame], float]
"""Rates a table of genes (var); higher is better."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


class Cells:
    """Reads obs, var, and checked raw counts in chunks. Use `CellFile` or `AnnDataCells`.

    Raw counts are read from `counts`: `X`, `raw.X` or the name of a layer. With None they are searched for in X, in the
    layers that usually hold them, in `raw.X`, and in the other layers, by a sample of the values; every value is
    checked when it is read. `raw.X` often has more genes than X: if `rate_genes` is given, `raw.X` is preferred to
    X and the layers when it holds counts and its table of genes is rated higher.

    Args:
        root: elements of the AnnData object by name, as in an h5ad file.
        source: name of the cells in errors.
        counts: where the raw counts are; None searches for them.
        rate_genes: rates a table of genes.

    Raises:
        UserError: an element cannot be read, or no raw counts were found.
    """

    _DAMAGED: ClassVar[str] = ""
    """Added to error messages about elements that cannot be read."""

    def __init__(self, root: Any, source: str, counts: str | None = None, rate_genes: RateGenes | None = None) -> None:
        self._root, self.source = root, source
        self.obs: pd.DataFrame = self._table("obs")
        self.counts_in: str = self._find(counts)
        """Where the raw counts are: `X`, `raw.X` or a layer's name."""
        if counts is None and rate_genes is not None and self._raw_is_better(rate_genes):
            self.counts_in = RAW
        self.var: pd.DataFrame = self._table("raw/var" if self.counts_in == RAW else "var")
        """Table of the genes that the counts have."""
        self.genes: pd.Index = self.var.index.astype(str)
        self._matrix = self._checked_shape(self._open(self.counts_in))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    def chunks(self, rows: int = CHUNK_CELLS, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield checked raw counts, `rows` cells at a time: position of the first cell, and cells x genes in CSR.

        Args:
            rows: number of cells per chunk.
            wanted: positions of the first cells of the chunks to read, multiples of `rows`; None reads all.

        Raises:
            UserError: a value is not a raw count, or the file is damaged.
        """
        source, done = f"{self.source}: {_shown(self.counts_in)}", 0
        chunks = self._matrix.row_chunks(rows, wanted)
        while True:
            with self._damage_named(f"{_shown(self.counts_in)} cannot be read at cell {done}"):
                following = next(chunks, None)
                if following is None:
                    return
                start, chunk = following
                chunk.check_format(full_check=True)  # indices outside the matrix crash the process later
            check_counts(chunk, source, self.obs.index, self.genes, start)
            if chunk.dtype.kind == "f":
                np.rint(chunk.data, out=chunk.data)  # float noise could make a sum exceed its library size
            done = start + chunk.shape[0]
            yield start, chunk

    def _find(self, wanted: str | None) -> str:
        candidates = self._candidates()
        if wanted is not None:
            if wanted not in candidates:
                raise UserError(
                    f"{self.source}: has no counts in {wanted!r} "
                    f"(available: {', '.join(candidates) or 'none'}); choose one."
                )
            return wanted
        if not candidates:
            raise UserError(f"{self.source}: has no X, raw.X or layer; expected raw counts in one of them.")
        faults = {}
        for place in candidates:
            fault = self._fault(place)
            if fault is None:
                return place
            faults[place] = fault
        if len(candidates) == 1:
            return candidates[0]  # the error on reading it names the cell and the gene
        found = ", ".join(f"{_shown(place)} ({fault})" for place, fault in faults.items())
        raise UserError(f"{self.source}: expected raw counts in X, raw.X or a layer, but none holds them: {found}.")

    def _fault(self, place: str) -> str | None:
        """Why a sample of the values is not raw counts; None if it is."""
        with self._damage_named(f"{_shown(place)} cannot be read"):
            sample = self._open(place).sample()
            fault = find_fault(sample)
        if fault is not None:
            return fault[1]
        return None if sample.any() else "zeros only"

    def _raw_is_better(self, rate_genes: RateGenes) -> bool:
        if self.counts_in == RAW or RAW not in self._candidates():
            return False
        try:
            genes = self._table("raw/var")
            whole = self._fault(RAW) is None and self._open(RAW).shape == (len(self.obs), len(genes))
            return whole and rate_genes(genes) > rate_genes(self._table("var"))
        except UserError:  # other counts were found, so raw.X need not be readable
            return False

    def _candidates(self) -> list[str]:
        layers, raw = sorted(self._members("layers")), [RAW] if X in self._members("raw") else []
        usual = [name for name in LAYERS_OF_COUNTS if name in layers]
        first = [X] if X in self._root else []
        return [*first, *usual, *raw, *(name for name in layers if name not in usual)]

    def _members(self, group: str) -> list[str]:
        node: Any = self._root.get(group, None)
        return list(node.keys()) if hasattr(node, "keys") else []  # an absent group may be stored as null

    def _open(self, place: str) -> RowMatrix:
        key = {X: "X", RAW: "raw/X"}.get(place, f"layers/{place}")
        try:
            return open_matrix(self._root[key])
        except ValueError as error:
            raise UserError(f"{self.source}: {_shown(place)} is not a matrix of counts: {error}.") from error
        except Exception as error:
            raise UserError(f"{self.source}: {_shown(place)} cannot be read ({one_line(error)}).") from error

    def _checked_shape(self, matrix: RowMatrix) -> RowMatrix:
        expected = (len(self.obs), len(self.genes))
        if tuple(matrix.shape) != expected:
            raise UserError(
                f"{self.source}: {_shown(self.counts_in)} has shape {tuple(matrix.shape)}, but obs and var have "
                f"{expected}."
            )
        return matrix

    def _table(self, name: str) -> pd.DataFrame:
        with self._damage_named(f"{name} cannot be read"):
            if name not in self._root:
                hint = (
                    "; this is a 10x file: read it with `scanpy.read_10x_h5`" if "matrix/barcodes" in self._root else ""
                )
                raise UserError(f"{self.source}: has no {name!r}; expected an AnnData file with X, obs and var{hint}.")
            element = read_table(self._root[name])
        if isinstance(element, np.ndarray) and element.dtype.names:
            raise UserError(
                f"{self.source}: {name} has the format of anndata before 0.7; rewrite the file: "
                "`anndata.read_h5ad(old).write_h5ad(new)`."
            )
        if not isinstance(element, pd.DataFrame):
            raise UserError(f"{self.source}: {name} is not a table; expected an AnnData file.")
        if element.index.dtype != object:
            element.index = element.index.astype(str)  # names may be stored as numbers
        return element

    @contextmanager
    def _damage_named(self, what: str) -> Iterator[None]:
        """Turn errors that h5py, anndata or scipy raise on a damaged file into one that names file and element."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.source}: {what}{self._DAMAGED} ({one_line(error)}).") from error


class CellFile(Cells):
    """Cells of an h5ad file or a zarr folder. Use as a context manager.

    Args:
        path: the file or folder.
        counts, rate_genes: see `Cells`.

    Raises:
        UserError: the file is missing, cut short, neither HDF5 nor zarr, not AnnData, or has no raw counts.
        BusyError: another process is writing it.
    """

    _DAMAGED = "; the file is damaged"

    def __init__(self, path: Path, counts: str | None = None, rate_genes: RateGenes | None = None) -> None:
        self.path = path
        root, self._file = _open(path)
        try:
            super().__init__(root, str(path), counts, rate_genes)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _open(path: Path) -> tuple[Any, h5py.File | None]:
    """Root element, and the file to close (None for zarr)."""
    if path.is_dir():
        import zarr  # takes half a second

        try:
            return zarr.open_group(path, mode="r"), None
        except Exception as error:
            raise UserError(f"{path}: is a folder, but not a readable zarr group ({one_line(error)}).") from error
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:  # HDF5 locks files while it writes them
        raise BusyError(f"{path}: another process is writing it now; try again when it is done.") from error
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; {_why_unreadable(path, error)}.") from error
    limit_metadata_cache(file)
    return file, file


def _why_unreadable(path: Path, error: OSError) -> str:
    try:
        with path.open("rb") as stream:
            first_bytes = stream.read(len(_HDF5))
    except OSError:
        return one_line(error)
    if not first_bytes:
        return "it is empty"
    if first_bytes != _HDF5:
        return f"it is not HDF5 (it starts with {first_bytes!r}); expected a file written by `AnnData.write_h5ad`"
    return f"it is cut short or damaged ({one_line(error)})"


def _shown(place: str) -> str:
    return place if place in (X, RAW) else f"layer {place!r}"


def require_unique_names(file: CellFile) -> None:
    """Check that a file has cells and genes, and that cell names are unique.

    Raises:
        UserError: there are no cells or no genes, or a name occurs more than once.
    """
    for what, names in (("cells", file.obs.index), ("genes", file.genes)):
        if len(names) == 0:
            raise UserError(f"{file.path}: has no {what}.")
    if not file.obs.index.is_unique:
        twice = file.obs.index[file.obs.index.duplicated()][0]
        raise UserError(f"{file.path}: names of cells must be unique, but {twice!r} occurs more than once.")


def read_cells(path: Path, rows: int = CHUNK_CELLS, counts: str | None = None) -> AnnData:
    """Read names, obs and checked counts into memory; X becomes CSR float32. For small files.

    Raises:
        UserError: as `CellFile`, and when the file has no cells or no genes, or names are not unique.
    """
    with CellFile(path, counts) as file:
        require_unique_names(file)
        if not file.genes.is_unique:
            twice = file.genes[file.genes.duplicated()][0]
            raise UserError(f"{path}: names of genes must be unique, but {twice!r} occurs more than once.")
        blocks = [chunk.astype(np.float32) for _, chunk in file.chunks(rows)]
        return AnnData(sparse.vstack(blocks, format="csr"), obs=file.obs, var=pd.DataFrame(index=file.genes))
