"""Reading a matrix (CSR, CSC or dense, in HDF5 or zarr) in chunks of rows, to limit memory."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from anndata.io import sparse_dataset
from numpy.typing import NDArray
from scipy import sparse

DENSE_BLOCK = 8_000_000
"""Values of a dense matrix read at a time."""
SAMPLED_VALUES = 65_536
"""Values sampled in each of three places, to find out whether they are counts."""
SAMPLED_ROWS = 64
"""Rows sampled in each of three places, to find out what the values of a row look like."""
IN_MEMORY_VALUES = 10_000_000
"""A CSC matrix with at most this many stored values is converted in memory; a larger one through files."""


Starts = Collection[int] | None


class RowMatrix(Protocol):
    """A matrix that can be read in chunks of rows.

    Rows have the machine's byte order and values wide enough for sums (int64, uint64, float32 or float64), whatever
    type is stored.
    """

    shape: tuple[int, int]
    """Cells x genes."""

    def row_chunks(self, rows: int, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """Yield the rows as CSR, `rows` at a time and in order, each with the position of its first row.

        Args:
            rows: number of rows per chunk.
            wanted: positions of the first rows of the chunks to read, multiples of `rows`; None reads all.
        """

    def sample(self) -> NDArray[Any]:
        """Return stored values from the start, the middle and the end; cheap, not a random sample."""

    def sample_rows(self) -> list[tuple[int, sparse.csr_matrix]]:
        """Return rows from the start, the middle and the end, in blocks with the position of their first row."""


def open_matrix(node: Any) -> RowMatrix:
    """Open the matrix of an element of an HDF5 file, of a zarr folder, or of an AnnData object in memory or backed.

    Raises:
        ValueError: the element is neither a two-dimensional numeric array nor a sparse matrix as AnnData writes them.
    """
    if sparse.issparse(node):
        return _InMemory(node)
    if isinstance(node, CSRDataset | CSCDataset):
        node = node.group
    if hasattr(node, "ndim"):
        if node.ndim != 2:
            raise ValueError(f"it has {node.ndim} dimensions, not 2")
        if node.dtype.kind not in "biuf":
            raise ValueError(f"its values are {node.dtype}, not numbers")
        return _Dense(node)
    if "data" not in node or node["data"].dtype.kind not in "biuf":
        raise ValueError("its values are not numbers")
    _require_all_stored(node)
    matrix = sparse_dataset(node)
    shape = (int(matrix.shape[0]), int(matrix.shape[1]))
    return _Csr(node, shape) if matrix.format == "csr" else _Csc(node, shape)


def open_sum(matrices: Sequence[RowMatrix]) -> RowMatrix:
    """The sum of matrices.

    Raises:
        ValueError: their shapes differ.
    """
    if len({tuple(matrix.shape) for matrix in matrices}) > 1:
        raise ValueError(f"its parts have the shapes {', '.join(str(tuple(matrix.shape)) for matrix in matrices)}")
    return _Sum(matrices)


def widen(values: NDArray[Any]) -> NDArray[Any]:
    """The values in the machine's byte order and in a type wide enough for sums; unchanged where they are."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        return np.asarray(values, dtype=np.float64 if size > 4 else np.float32)
    return np.asarray(values, dtype=np.uint64 if (kind, size) == ("u", 8) else np.int64)


def sampled_ranges(n_rows: int, rows: int = SAMPLED_ROWS) -> list[tuple[int, int]]:
    """Ranges of rows, first and one past the last, at the start, the middle and the end; they do not overlap."""
    if n_rows <= 3 * rows:
        return [(0, n_rows)] if n_rows else []
    middle = n_rows // 2 - rows // 2
    return [(0, rows), (middle, middle + rows), (n_rows - rows, n_rows)]


def _require_all_stored(node: Any) -> None:
    """Refuse a sparse zarr matrix with missing chunks, which zarr would read as zeros.

    A chunk of zeros may be missing: `data` has no zeros, and `indices` has at most one per row.
    """
    rows = node["indptr"].shape[0] - 1
    for name, zeros_allowed in (("data", 0), ("indices", rows)):
        array = node[name]
        missing = getattr(array, "nchunks", 0) - getattr(array, "nchunks_initialized", 0)
        if missing > 0 and min(array.chunks[0], array.shape[0]) > zeros_allowed:
            raise ValueError(f"{missing} of {array.nchunks} chunks of its {name} are missing")


class _Rows(ABC):
    """A matrix of which any rows can be read."""

    shape: tuple[int, int]

    def row_chunks(self, rows: int, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        for start in _starts(self.shape[0], rows, wanted):
            yield start, self._rows(start, min(start + rows, self.shape[0]))

    def sample_rows(self) -> list[tuple[int, sparse.csr_matrix]]:
        return [(start, self._rows(start, stop)) for start, stop in sampled_ranges(self.shape[0])]

    @abstractmethod
    def _rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Some rows, as CSR."""


class _Csr(_Rows):
    def __init__(self, node: Any, shape: tuple[int, int]) -> None:
        self._node, self.shape = node, shape

    @cached_property
    def _indptr(self) -> NDArray[np.int64]:
        indptr = np.asarray(self._node["indptr"][:]).astype(np.int64)
        if len(indptr) != self.shape[0] + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
            raise ValueError("its row pointers are not ascending from 0, one per row")
        return indptr

    def _rows(self, start: int, stop: int) -> sparse.csr_matrix:
        begin, end = int(self._indptr[start]), int(self._indptr[stop])
        indices = np.asarray(self._node["indices"][begin:end])
        indices = indices.astype(indices.dtype.newbyteorder("="), copy=False)
        parts = (widen(self._node["data"][begin:end]), indices, self._indptr[start : stop + 1] - begin)
        return sparse.csr_matrix(parts, shape=(stop - start, self.shape[1]))

    def sample(self) -> NDArray[Any]:
        return _three_places(self._node["data"])


class _InMemory(_Rows):
    """A sparse matrix in memory. Its chunks are copies, so that the caller may change them."""

    def __init__(self, matrix: Any) -> None:
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"its values are {matrix.dtype}, not numbers")
        self._matrix = matrix
        self.shape = tuple(matrix.shape)

    @cached_property
    def _whole(self) -> sparse.csr_matrix:
        return sparse.csr_matrix(self._matrix)

    def _rows(self, start: int, stop: int) -> sparse.csr_matrix:
        part = self._whole[start:stop]
        return sparse.csr_matrix((widen(part.data).copy(), part.indices.copy(), part.indptr.copy()), shape=part.shape)

    def sample(self) -> NDArray[Any]:
        return _three_places(self._matrix.data if hasattr(self._matrix, "indptr") else self._whole.data)


class _Dense(_Rows):
    def __init__(self, node: Any) -> None:
        self._node = node
        self.shape = tuple(node.shape)

    def _rows(self, start: int, stop: int) -> sparse.csr_matrix:
        block = max(1, DENSE_BLOCK // max(1, self.shape[1]))
        parts = [
            sparse.csr_matrix(widen(np.asarray(self._node[begin : min(begin + block, stop)])))
            for begin in range(start, stop, block)
        ]
        return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")

    def sample(self) -> NDArray[Any]:
        n_rows = self.shape[0]
        rows = max(1, SAMPLED_VALUES // max(1, self.shape[1]))
        starts = sorted({0, max(0, n_rows // 2 - rows // 2), max(0, n_rows - rows)})
        return np.concatenate([np.ravel(self._node[start : start + rows]) for start in starts])


class _Sum:
    def __init__(self, parts: Sequence[RowMatrix]) -> None:
        self._parts = parts
        self.shape: tuple[int, int] = parts[0].shape

    def row_chunks(self, rows: int, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        for chunks in zip(*(part.row_chunks(rows, wanted) for part in self._parts), strict=True):
            yield chunks[0][0], _added([chunk for _, chunk in chunks])

    def sample(self) -> NDArray[Any]:
        return np.concatenate([widen(part.sample()) for part in self._parts])

    def sample_rows(self) -> list[tuple[int, sparse.csr_matrix]]:
        samples = zip(*(part.sample_rows() for part in self._parts), strict=True)
        return [(blocks[0][0], _added([block for _, block in blocks])) for blocks in samples]


class _Csc:
    """The values of a row are spread over the whole matrix, so they are first sorted into files, one per chunk of rows.

    Each stored value is read once and written once; memory holds one block of columns, or one chunk of rows.
    """

    def __init__(self, node: Any, shape: tuple[int, int]) -> None:
        self._node, self.shape = node, shape

    def row_chunks(self, rows: int, wanted: Starts = None) -> Iterator[tuple[int, sparse.csr_matrix]]:
        if self._node["data"].shape[0] <= IN_MEMORY_VALUES:
            values, indices, starts = (np.asarray(self._node[name][:]) for name in ("data", "indices", "indptr"))
            native = (part.astype(part.dtype.newbyteorder("="), copy=False) for part in (indices, starts))
            columns = sparse.csc_matrix((widen(values), *native), shape=self.shape)
            columns.check_format(full_check=True)
            whole = sparse.csr_matrix(columns)
            for start in _starts(self.shape[0], rows, wanted):
                yield start, whole[start : start + rows]
            return
        with tempfile.TemporaryDirectory(prefix="sctransformer-rows-") as folder:
            buckets = [Path(folder) / str(index) for index in range(-(-self.shape[0] // rows))]
            self._sort_into(buckets, rows)
            for start in _starts(self.shape[0], rows, wanted):
                yield start, self._read_bucket(buckets[start // rows], start, min(rows, self.shape[0] - start))

    def sample(self) -> NDArray[Any]:
        return _three_places(self._node["data"])

    def sample_rows(self) -> list[tuple[int, sparse.csr_matrix]]:
        """One pass over the matrix, in blocks of columns."""
        ranges = sampled_ranges(self.shape[0])
        wanted_N = np.zeros(self.shape[0], dtype=bool)
        for start, stop in ranges:
            wanted_N[start:stop] = True
        found = [self._entries(first, last) for first, last in _blocks_of(self._starts, IN_MEMORY_VALUES)]
        found = [entries[wanted_N[entries["row"]]] for entries in found]
        entries = np.concatenate(found) if found else np.empty(0, dtype=self._entry)
        return [
            (start, self._matrix_of(entries[(entries["row"] >= start) & (entries["row"] < stop)], start, stop - start))
            for start, stop in ranges
        ]

    @property
    def _entry(self) -> np.dtype[Any]:
        return np.dtype([("row", np.int64), ("column", np.int32), ("value", self._node["data"].dtype)])

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.asarray(self._node["indptr"][:]).astype(np.int64)

    def _entries(self, first: int, last: int) -> NDArray[Any]:
        """The stored values of a block of columns, with their rows and columns."""
        starts = self._starts
        begin, end = int(starts[first]), int(starts[last])
        entries = np.empty(end - begin, dtype=self._entry)
        entries["row"] = self._node["indices"][begin:end]
        entries["column"] = np.repeat(np.arange(first, last), np.diff(starts[first : last + 1]))
        entries["value"] = self._node["data"][begin:end]
        if len(entries) and not 0 <= entries["row"].min() <= entries["row"].max() < self.shape[0]:
            raise ValueError("its indices are outside its shape")
        return entries

    def _sort_into(self, buckets: list[Path], rows: int) -> None:
        for first, last in _blocks_of(self._starts, IN_MEMORY_VALUES):
            entries = self._entries(first, last)
            bucket_of = entries["row"] // rows
            order = np.argsort(bucket_of, kind="stable")
            entries, bucket_of = entries[order], bucket_of[order]
            bounds = np.searchsorted(bucket_of, np.arange(len(buckets) + 1))
            for index, bucket in enumerate(buckets):
                if bounds[index] < bounds[index + 1]:
                    with bucket.open("ab") as stream:
                        entries[bounds[index] : bounds[index + 1]].tofile(stream)

    def _read_bucket(self, bucket: Path, start: int, rows: int) -> sparse.csr_matrix:
        entries = np.fromfile(bucket, dtype=self._entry) if bucket.exists() else np.empty(0, dtype=self._entry)
        bucket.unlink(missing_ok=True)
        return self._matrix_of(entries, start, rows)

    def _matrix_of(self, entries: NDArray[Any], start: int, rows: int) -> sparse.csr_matrix:
        where = (entries["row"] - start, entries["column"])
        return sparse.coo_matrix((widen(entries["value"]), where), shape=(rows, self.shape[1])).tocsr()


def _added(matrices: Sequence[sparse.csr_matrix]) -> sparse.csr_matrix:
    total = matrices[0]
    for matrix in matrices[1:]:
        total = total + matrix
    return sparse.csr_matrix(total)


def _starts(n_rows: int, rows: int, wanted: Starts) -> Iterator[int]:
    chosen = None if wanted is None else frozenset(wanted)
    return (start for start in range(0, n_rows, rows) if chosen is None or start in chosen)


def _blocks_of(starts: NDArray[np.int64], values: int) -> Iterator[tuple[int, int]]:
    """Yield blocks of columns (first, one past the last) with at most `values` values each, but at least one column."""
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + values, side="right")) - 1
        last = max(first + 1, last)
        yield first, last
        first = last


def _three_places(values: Any) -> NDArray[Any]:
    size = values.shape[0]
    starts = sorted({0, max(0, size // 2 - SAMPLED_VALUES // 2), max(0, size - SAMPLED_VALUES)})
    return np.concatenate([np.asarray(values[start : start + SAMPLED_VALUES]) for start in starts])
