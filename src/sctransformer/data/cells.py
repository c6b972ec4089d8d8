"""Reading cells from AnnData, in a file (h5ad or zarr) or in memory: obs and var whole, raw counts in chunks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sctransformer.data.count_search import RAW, CountSearch, Sample, X, shown
from sctransformer.data.counts import check_counts
from sctransformer.data.features import Features, select_features
from sctransformer.data.matrix import RowMatrix, Starts, open_matrix, open_sum
from sctransformer.data.obs_table import read_table
from sctransformer.data.opening import missing_filters, open_root
from sctransformer.data.species import Species
from sctransformer.errors import UserError, one_line

CHUNK_CELLS = 4096
"""Default number of cells per chunk: tens of megabytes."""

RateGenes = Callable[[pd.DataFrame], float]
"""Rates a table of genes (var); higher is better."""


class Cells:
    """Reads obs, var, and checked raw counts in chunks. Use `CellFile` or `AnnDataCells`.

    Raw counts are read from `counts`: `X`, `raw.X`, the name of a layer, or several layers to add, as in
    `spliced+unspliced`. With None they are searched for in X, in layers with usual names and in `raw.X`, see
    `CountSearch`; every value is checked when it is read. `raw.X` often has more genes than X: if `rate_genes` is
    given, `raw.X` is preferred to X and the layers when it holds counts and its table of genes is rated higher.

    Only genes of the species are read, see `select_features`: `var`, `genes` and the chunks lack antibodies, peaks and
    genes of other genomes.

    Args:
        root: elements of the AnnData object by name, as in an h5ad file.
        source: name of the cells in errors.
        counts: where the raw counts are; None searches for them.
        rate_genes: rates a table of genes.
        species: the species whose genes are read.

    Raises:
        UserError: an element cannot be read, or no raw counts were found.
    """

    _DAMAGED: ClassVar[str] = ""
    """Added to error messages about elements that cannot be read."""

    def __init__(
        self,
        root: Any,
        source: str,
        counts: str | None = None,
        rate_genes: RateGenes | None = None,
        species: Species = "human",
    ) -> None:
        self._root, self.source, self._species = root, source, species
        self._features_of: dict[str, Features] = {}
        self.obs: pd.DataFrame = self._table("obs")
        self.notes: list[str] = []
        """What the user should know about how the cells are read, a sentence each."""
        self.counts_in: str = self._find(counts, rate_genes)
        """Where the raw counts are: `X`, `raw.X`, a layer's name or names of layers joined by `+`."""
        self._features = self._select(self.counts_in)
        self.notes += self._features.notes
        self.var: pd.DataFrame = self._features.var
        self.has_two_genomes = self._features.other_genome_F is not None
        """Whether genes of another species are left out; its cells are then read as cells without counts."""
        """Table of the genes that are read."""
        self.genes: pd.Index = self.var.index.astype(str)
        self._matrix = self._open(self.counts_in)

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
        source, done = f"{self.source}: {shown(self.counts_in)}", 0
        chunks = self._matrix.row_chunks(rows, wanted)
        while True:
            with self._damage_named(f"{shown(self.counts_in)} cannot be read at cell {done}"):
                following = next(chunks, None)
                if following is None:
                    return
                start, chunk = following
                chunk.check_format(full_check=True)  # indices outside the matrix crash the process later
                chunk = self._features.keep_own_cells(chunk)
            check_counts(chunk, source, self.obs.index, self.genes, start)
            if chunk.dtype.kind == "f":
                np.rint(chunk.data, out=chunk.data)  # float noise could make a sum exceed its library size
            done = start + chunk.shape[0]
            yield start, chunk

    def _find(self, wanted: str | None, rate_genes: RateGenes | None) -> str:
        layers = sorted(self._members("layers"))
        other = [*([X] if X in self._root else []), *([RAW] if X in self._members("raw") else [])]
        search = CountSearch(self.source, self.obs, layers, other, self._sample)
        if wanted is not None:
            parts = _parts(wanted, layers)
            if any(part not in search.places for part in parts):
                raise UserError(
                    f"{self.source}: has no counts in {wanted!r} (available: {', '.join(search.places) or 'none'}); "
                    "choose one."
                )
            return wanted
        self._select(X)  # a table of genes that cannot be read is not a fault of the counts
        found = search.find()
        if rate_genes is not None and found != RAW and self._raw_is_better(search, rate_genes):
            return RAW
        self.notes += search.notes
        return found

    def _sample(self, place: str) -> Sample:
        """Sample a place.

        Raises:
            UserError: it cannot be read.
        """
        with self._damage_named(f"{shown(place)} cannot be read", *map(_key, _parts(place, self._members("layers")))):
            matrix, features = self._open(place), self._select(place)
            values_P, blocks = matrix.sample(), []
            for start, block in matrix.sample_rows():
                block.check_format(full_check=True)
                blocks.append((start, features.keep(block)))
            if features.kept_F is not None and blocks:
                values_P = np.concatenate([block.data for _, block in blocks])
        return Sample(values_P, blocks, features.var.index.astype(str))

    def _raw_is_better(self, search: CountSearch, rate_genes: RateGenes) -> bool:
        if RAW not in search.places:
            return False
        try:
            if search.fault(self._sample(RAW)) is not None:
                return False
            return rate_genes(self._select(RAW).var) > rate_genes(self._select(X).var)
        except UserError:  # other counts were found, so raw.X need not be readable
            return False

    def _members(self, group: str) -> list[str]:
        node: Any = self._root.get(group, None)
        return list(node.keys()) if hasattr(node, "keys") else []  # an absent group may be stored as null

    def _select(self, place: str) -> Features:
        """The features of a place that are read."""
        name = "raw/var" if place == RAW else "var"
        if name not in self._features_of:
            self._features_of[name] = select_features(self._table(name), self.source, self._species)
        return self._features_of[name]

    def _open(self, place: str) -> RowMatrix:
        """The matrix of a place; its columns are those of the file's table of features."""
        parts = _parts(place, self._members("layers"))
        try:
            matrices = [open_matrix(self._root[_key(part)]) for part in parts]
            matrix = matrices[0] if len(matrices) == 1 else open_sum(matrices)
        except ValueError as error:
            raise UserError(f"{self.source}: {shown(place)} is not a matrix of counts: {error}.") from error
        except Exception as error:
            raise UserError(f"{self.source}: {shown(place)} cannot be read ({one_line(error)}).") from error
        expected = (len(self.obs), self._select(place).n_features)
        if tuple(matrix.shape) != expected:
            raise UserError(
                f"{self.source}: {shown(place)} has shape {tuple(matrix.shape)}, but obs and var have {expected}."
            )
        return matrix

    def _table(self, name: str) -> pd.DataFrame:
        with self._damage_named(f"{name} cannot be read", name):
            if name not in self._root:
                raise UserError(f"{self.source}: has no {name!r}; expected an AnnData file with X, obs and var.")
            element = read_table(self._root[name])
        if isinstance(element, np.ndarray) and element.dtype.names:
            raise UserError(
                f"{self.source}: {name} has the format of anndata before 0.7; rewrite the file: "
                "`anndata.read_h5ad(old).write_h5ad(new)`."
            )
        if not isinstance(element, pd.DataFrame):
            raise UserError(f"{self.source}: {name} is not a table; expected an AnnData file.")
        if not element.columns.is_unique:
            twice = element.columns[element.columns.duplicated()][0]
            raise UserError(f"{self.source}: {name} has more than one column {twice!r}; rename or drop one of them.")
        if element.index.dtype != object:
            element.index = element.index.astype(str)  # names may be stored as numbers
        return element

    @contextmanager
    def _damage_named(self, what: str, *keys: str) -> Iterator[None]:
        """Turn errors that h5py, anndata or scipy raise on a damaged file into one that names file and element.

        Args:
            what: start of the message.
            keys: the elements that are read; their filters are loaded.

        Raises:
            UserError: an element cannot be read, or needs a filter that is not installed.
        """
        missing = sorted({name for key in keys for name in missing_filters(self._root, key)})
        if missing:
            raise UserError(
                f"{self.source}: {what}: it is compressed with the HDF5 filter {' and '.join(missing)}, which is not "
                "installed; `pip install hdf5plugin`, or write the file again with gzip."
            )
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
        counts, rate_genes, species: see `Cells`.

    Raises:
        UserError: the file is missing, cut short, neither HDF5 nor zarr, not AnnData, or has no raw counts.
        BusyError: another process is writing it.
    """

    _DAMAGED = "; the file is damaged"

    def __init__(
        self,
        path: Path,
        counts: str | None = None,
        rate_genes: RateGenes | None = None,
        species: Species = "human",
    ) -> None:
        self.path = path
        root, self._file = open_root(path)
        try:
            super().__init__(root, str(path), counts, rate_genes, species)
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


def _parts(place: str, layers: list[str]) -> list[str]:
    """The layers that a place such as `spliced+unspliced` adds; else the place itself."""
    return [place] if place in layers else [part.strip() for part in place.split("+")]


def _key(place: str) -> str:
    return {X: "X", RAW: "raw/X"}.get(place, f"layers/{place}")


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
