"""Reading cells from AnnData, as a file (h5ad or zarr) or in memory: tables at once, raw counts in chunks of rows."""

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
"""Cells read at a time where nothing asks for another number: tens of megabytes."""

X, RAW = "X", "raw.X"
LAYERS_OF_COUNTS = ("counts", "raw_counts", "raw", "count", "umi", "umis")
"""Layers that usually hold raw counts, tried first."""
Worth = Callable[[pd.DataFrame], float]
"""Of a table of genes, to whoever reads the counts."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


class Cells:
    """Cells that can be read: obs, var, and checked raw counts in chunks. Use `CellFile` or `AnnDataCells`.

    Raw counts are read from `counts`: `X`, `raw.X` or the name of a layer. None looks for them in X, in the layers
    that usually hold them, in `raw.X`, and in the other layers, by a sample of the values; all that is read later is
    checked value by value. `raw.X` often holds more genes than X: with `worth`, which rates a table of genes, it is
    preferred to X and the layers where it holds counts and its genes rate higher.

    Args:
        root: the elements of the AnnData object by their names in an h5ad file.
        source: what to call the cells in errors.
        counts: where the raw counts are.
        worth: rates a table of genes.

    Raises:
        UserError: an element cannot be read, or no raw counts were found.
    """

    _DAMAGED: ClassVar[str] = ""
    """Added to errors of elements that cannot be read."""

    def __init__(self, root: Any, source: str, counts: str | None = None, worth: Worth | None = None) -> None:
        self._root, self.source = root, source
        self.obs: pd.DataFrame = self._table("obs")
        self.counts_in: str = self._find(counts)
        """Where the raw counts are: `X`, `raw.X` or a layer's name."""
        if counts is None and worth is not None and self._raw_is_better(worth):
            self.counts_in = RAW
        self.var: pd.DataFrame = self._table("raw/var" if self.counts_in == RAW else "var")
        """The table of the genes that were counted."""
        self.genes: pd.Index = self.var.index.astype(str)
        self._matrix = self._checked_shape(self._open(self.counts_in))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    def chunks(self, rows: int = CHUNK_CELLS, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Checked raw counts, `rows` cells at a time: position of the first cell, and cells x genes in CSR.

        Args:
            rows: cells of a chunk.
            wanted: positions of the first cells of the chunks to read, multiples of `rows`; None reads all.

        Raises:
            UserError: a value is no raw count, or the file breaks off.
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
                np.rint(chunk.data, out=chunk.data)  # float noise would make a cell's sum larger than its library size
            done = start + chunk.shape[0]
            yield start, chunk

    def _find(self, wanted: str | None) -> str:
        there = self._candidates()
        if wanted is not None:
            if wanted not in there:
                raise UserError(
                    f"{self.source}: has no counts in {wanted!r} (there are {', '.join(there) or 'none'}); choose one."
                )
            return wanted
        if not there:
            raise UserError(f"{self.source}: has no X, raw.X or layer; expected raw counts in one of them.")
        faults = {}
        for place in there:
            fault = self._fault(place)
            if fault is None:
                return place
            faults[place] = fault
        if len(there) == 1:
            return there[0]  # reading it names the cell and the gene
        found = ", ".join(f"{_shown(place)} ({fault})" for place, fault in faults.items())
        raise UserError(f"{self.source}: expected raw counts in X, raw.X or a layer, but none holds them: {found}.")

    def _fault(self, place: str) -> str | None:
        """Why a sample of what stands there is no counts; None for counts."""
        with self._damage_named(f"{_shown(place)} cannot be read"):
            sample = self._open(place).sample()
            fault = find_fault(sample)
        if fault is not None:
            return fault[1]
        return None if sample.any() else "zeros only"

    def _raw_is_better(self, worth: Worth) -> bool:
        if self.counts_in == RAW or RAW not in self._candidates():
            return False
        try:
            genes = self._table("raw/var")
            whole = self._fault(RAW) is None and self._open(RAW).shape == (len(self.obs), len(genes))
            return whole and worth(genes) > worth(self._table("var"))
        except UserError:  # there are other counts: these need not be readable
            return False

    def _candidates(self) -> list[str]:
        layers, raw = sorted(self._members("layers")), [RAW] if X in self._members("raw") else []
        usual = [name for name in LAYERS_OF_COUNTS if name in layers]
        first = [X] if X in self._root else []
        return [*first, *usual, *raw, *(name for name in layers if name not in usual)]

    def _members(self, group: str) -> list[str]:
        node: Any = self._root.get(group, None)
        return list(node.keys()) if hasattr(node, "keys") else []  # what is not there may be stored as null

    def _open(self, place: str) -> RowMatrix:
        key = {X: "X", RAW: "raw/X"}.get(place, f"layers/{place}")
        try:
            return open_matrix(self._root[key])
        except ValueError as error:
            raise UserError(f"{self.source}: {_shown(place)} is no matrix of counts: {error}.") from error
        except Exception as error:
            raise UserError(f"{self.source}: {_shown(place)} cannot be read ({one_line(error)}).") from error

    def _checked_shape(self, matrix: RowMatrix) -> RowMatrix:
        expected = (len(self.obs), len(self.genes))
        if tuple(matrix.shape) != expected:
            raise UserError(
                f"{self.source}: {_shown(self.counts_in)} has shape {tuple(matrix.shape)}, but obs and var say "
                f"{expected}."
            )
        return matrix

    def _table(self, name: str) -> pd.DataFrame:
        with self._damage_named(f"{name} cannot be read"):
            if name not in self._root:
                hint = "; `scanpy.read_10x_h5` reads such a file of 10x's" if "matrix/barcodes" in self._root else ""
                raise UserError(f"{self.source}: has no {name!r}; expected an AnnData file with X, obs and var{hint}.")
            element = read_table(self._root[name])
        if isinstance(element, np.ndarray) and element.dtype.names:
            raise UserError(
                f"{self.source}: {name} is stored as anndata did before 0.7; write the file anew: "
                "`anndata.read_h5ad(old).write_h5ad(new)`."
            )
        if not isinstance(element, pd.DataFrame):
            raise UserError(f"{self.source}: {name} is no table; expected an AnnData file.")
        if element.index.dtype != object:
            element.index = element.index.astype(str)  # numbers are names too
        return element

    @contextmanager
    def _damage_named(self, what: str) -> Iterator[None]:
        """h5py, anndata and scipy raise whatever they stumble over in a damaged file: say which file and what."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.source}: {what}{self._DAMAGED} ({one_line(error)}).") from error


class CellFile(Cells):
    """An h5ad file or a zarr folder opened for reading. Use as a context manager.

    Args:
        path: the file or folder.
        counts, worth: see `Cells`.

    Raises:
        UserError: the file is absent, cut, neither HDF5 nor zarr, not AnnData, or holds no raw counts.
        BusyError: another process is writing it.
    """

    _DAMAGED = "; the file is damaged"

    def __init__(self, path: Path, counts: str | None = None, worth: Worth | None = None) -> None:
        self.path = path
        root, self._file = _open(path)
        try:
            super().__init__(root, str(path), counts, worth)
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
    """The root of the tree, and what must be closed."""
    if path.is_dir():
        import zarr  # half a second

        try:
            return zarr.open_group(path, mode="r"), None
        except Exception as error:
            raise UserError(f"{path}: is a folder, but no readable zarr group ({one_line(error)}).") from error
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:  # HDF5 locks what it writes
        raise BusyError(f"{path}: another process is writing it now; try again when it is done.") from error
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; {_why_unreadable(path, error)}.") from error
    limit_metadata_cache(file)
    return file, file


def _why_unreadable(path: Path, error: OSError) -> str:
    try:
        with path.open("rb") as stream:
            beginning = stream.read(len(_HDF5))
    except OSError:
        return one_line(error)
    if not beginning:
        return "it is empty"
    if beginning != _HDF5:
        return f"it is no HDF5, for it begins with {beginning!r}; expected what `AnnData.write_h5ad` writes"
    return f"it is cut short or damaged ({one_line(error)})"


def _shown(place: str) -> str:
    return place if place in (X, RAW) else f"layer {place!r}"


def require_unique_names(file: CellFile) -> None:
    """Refuse a file without cells or genes, or in which two cells have one name.

    Raises:
        UserError: saying which.
    """
    for what, names in (("cells", file.obs.index), ("genes", file.genes)):
        if len(names) == 0:
            raise UserError(f"{file.path}: has no {what}.")
    if not file.obs.index.is_unique:
        twice = file.obs.index[file.obs.index.duplicated()][0]
        raise UserError(f"{file.path}: names of cells must be unique, but {twice!r} occurs more than once.")


def read_cells(path: Path, rows: int = CHUNK_CELLS, counts: str | None = None) -> AnnData:
    """Read names, obs and checked counts into memory; X becomes CSR float32. For files that are known to be small.

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
