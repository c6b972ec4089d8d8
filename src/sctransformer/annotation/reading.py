"""Cells that are ready to be scored: opened, genes matched with the model's, library sizes found."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.genes import GeneMatch, match_genes, match_table, named_by_symbol
from sctransformer.annotation.settings import DEFAULTS
from sctransformer.data.cells import CellFile, Cells
from sctransformer.data.library_size import LibrarySizes, choose_library_sizes
from sctransformer.data.species import require_species, species_of
from sctransformer.data.zero_blocks import ZeroBlocks
from sctransformer.errors import UserError

logger = logging.getLogger(__name__)


class Chunk(NamedTuple):
    """Consecutive cells. N: cells, G: genes of the vocabulary, R: regulators."""

    counts_NG: sparse.csr_matrix
    """Raw counts, see `GeneMatch.select`."""
    library_size_N: NDArray[np.float32]
    own_NR: sparse.csr_matrix | None
    """Raw counts of the regulators' own genes; None if they are not wanted."""


@dataclass(frozen=True)
class CheckedCells:
    """Cells that passed the checks before scoring."""

    cells: Cells
    match: GeneMatch
    library_sizes: LibrarySizes

    @property
    def source(self) -> str:
        """What the cells are called in errors: the path of their file."""
        return self.cells.source

    @property
    def notes(self) -> list[str]:
        """What the user should know about how the cells and their genes are read, a sentence each."""
        return [*self.cells.notes, *self.match.notes, *self._zero_blocks.notes(self._genes)]

    @cached_property
    def _zero_blocks(self) -> ZeroBlocks:
        return ZeroBlocks.of(self.cells.obs, len(self._genes))

    @cached_property
    def _genes(self) -> list[str]:
        """The names of the vocabulary's genes in the file; other genes keep a place."""
        return [str(self.cells.genes[column]) if column >= 0 else "" for column in self.match.column_G]

    def log_notes(self, after: bool = False) -> None:
        """Log the notes: before the cells are read, or those that are known only afterwards."""
        for note in self._zero_blocks.notes(self._genes) if after else self.notes:
            logger.warning("%s: %s.", self.source, note)

    def chunks(self, rows: int, starts: Sequence[int] | None = None, own: GeneMatch | None = None) -> Iterator[Chunk]:
        """Read counts and library sizes, `rows` cells at a time.

        Args:
            rows: cells per chunk.
            starts: positions of the first cells of the chunks to read, multiples of `rows`; None reads all.
            own: the regulators' own genes; None if they are not wanted.

        Raises:
            UserError: a value is not a raw count, a library size is wrong, or the file is damaged.
        """
        for start, counts_NF in self.cells.chunks(rows, starts):
            library_size_N = self.library_sizes.of_chunk(start, counts_NF).astype(np.float32)
            counts_NG = self.match.select(counts_NF)
            self._zero_blocks.add(start, counts_NG)
            yield Chunk(counts_NG, library_size_N, None if own is None else own.select(counts_NF))


def coverage_of(vocabulary: pd.DataFrame, source: str) -> Callable[[pd.DataFrame], float]:
    """A function that rates a table of genes by how much of the model's panel it covers."""

    def coverage(var: pd.DataFrame) -> float:
        return match_genes(vocabulary, named_by_symbol(vocabulary, var, source).genes).coverage

    return coverage


def open_cells(path: Path, vocabulary: pd.DataFrame, counts: str | None = None) -> CellFile:
    """Open a file. Where several of its matrices hold raw counts, the one that covers most of the panel is read.

    Args:
        path: an h5ad file or a zarr folder.
        vocabulary: the genes of the model, see `Bundle.vocabulary`.
        counts: `X`, `raw.X` or a layer's name; None looks for raw counts.

    Raises:
        UserError: as `CellFile`.
    """
    return CellFile(path, counts, coverage_of(vocabulary, str(path)), species_of(vocabulary["gene"]))


def check_cells(
    cells: Cells,
    vocabulary: pd.DataFrame,
    min_coverage: float = DEFAULTS.min_coverage,
    library_size_column: str | None = None,
) -> CheckedCells:
    """Match the genes of cells with the model's and find their library sizes.

    Args:
        cells: opened.
        vocabulary: the genes of the model.
        min_coverage: see `require_coverage`.
        library_size_column: see `choose_library_sizes`.

    Raises:
        UserError: there are no cells, obs states that some are of another species, too many genes are missing, or the
            library size column does not exist.
    """
    if cells.n_cells == 0:
        raise UserError(f"{cells.source}: has no cells.")
    if not cells.has_two_genomes:
        require_species(cells.obs, species_of(vocabulary["gene"]), cells.source)
    match = match_table(vocabulary, cells.var, cells.source, min_coverage)
    sizes = choose_library_sizes(cells.obs, library_size_column, cells.source, cells.counts_in)
    return CheckedCells(cells, match, sizes)
