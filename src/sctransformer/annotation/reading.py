"""Cells that are ready to be scored: opened, genes matched with the model's, library sizes found."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.genes import GeneMatch, coverage_of_genes, match_genes, match_table, named_by_symbol
from sctransformer.annotation.settings import DEFAULTS
from sctransformer.data.cells import CellFile, Cells
from sctransformer.data.hla import NEARLY_ALL, HlaGenes, foreign_share
from sctransformer.data.library_size import LibrarySizes, choose_library_sizes
from sctransformer.data.species import require_species, require_species_of_names, species_of
from sctransformer.data.zero_blocks import Panels, find_panels, sampled_blocks
from sctransformer.errors import UserError

logger = logging.getLogger(__name__)


class Chunk(NamedTuple):
    """Consecutive cells. N: cells, G: genes of the vocabulary, R: regulators."""

    counts_NG: sparse.csr_matrix
    """Raw counts, see `GeneMatch.select`."""
    library_size_N: NDArray[np.float32]
    own_NR: sparse.csr_matrix | None
    """Raw counts of the regulators' own genes; None if they are not wanted."""
    panel_N: NDArray[np.int16] | None = None
    """Panel of each cell, see `Panels.of`; None where all cells have the same genes."""


@dataclass(frozen=True)
class Findings:
    """What some of the cells show before any is scored."""

    panels: Panels | None = None
    """Groups of cells that lack genes which the other cells have."""
    hla: HlaGenes | None = None
    """Given if cells without any count of these genes are of another species."""
    foreign_share: float = 0.0
    """Fraction of those cells among the cells that can be judged."""


@dataclass(frozen=True)
class CheckedCells:
    """Cells that passed the checks before scoring."""

    cells: Cells
    match: GeneMatch
    library_sizes: LibrarySizes
    findings: Findings = Findings()

    @property
    def source(self) -> str:
        """What the cells are called in errors: the path of their file."""
        return self.cells.source

    @property
    def names(self) -> list[str]:
        """The names of the vocabulary's genes in the file; genes that it lacks keep a place."""
        return [str(self.cells.genes[column]) if column >= 0 else "" for column in self.match.column_G]

    @property
    def notes(self) -> list[str]:
        """What the user should know about how the cells and their genes are read, a sentence each."""
        found = self.findings
        notes = [*self.cells.notes, *self.match.notes]
        if found.panels is not None:
            notes.append(
                f"{found.panels.described(self.names)}; these genes count as not measured in these cells, unless "
                "absent genes are set to zero"
            )
        if found.hla is not None:
            notes.append(
                f"{found.foreign_share:.0%} of the cells with counts of B2M or CD74 have no count of any HLA gene, as "
                "cells of another species whose genes have human names; all cells without such a count are read as "
                "cells without counts (label `unknown`, reason `no counts`): annotate them with a model of their "
                "species or, if their panel lacks HLA genes, from a file with the genes of their panel only"
            )
        return notes

    def log_notes(self) -> None:
        """Log the notes."""
        for note in self.notes:
            logger.warning("%s: %s.", self.source, note)

    def by_panel(self) -> "list[CheckedCells]":
        """The cells, once for each panel that was found, as if the file lacked the genes that the panel lacks."""
        panels = self.findings.panels
        if panels is None:
            return []
        matches = [self.match.without(absent_G) for absent_G in panels.absent_UG]
        return [replace(self, match=match, findings=replace(self.findings, panels=None)) for match in matches]

    def require_one_panel(self) -> None:
        """Refuse cells of several panels, for what is measured with the same genes in all cells.

        Raises:
            UserError: groups of cells lack genes that the other cells have.
        """
        if self.findings.panels is not None:
            raise UserError(
                f"{self.source}: cells of several panels are joined; give a file with the cells and the genes of one "
                "panel."
            )

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
            if self.findings.hla is not None:
                counts_NF = _emptied(counts_NF, self.findings.hla.without(counts_NF))
            counts_NG = self.match.select(counts_NF)
            panels = self.findings.panels
            yield Chunk(
                counts_NG,
                library_size_N,
                None if own is None else own.select(counts_NF),
                None if panels is None else panels.of(start, counts_NG),
            )


def _emptied(counts_NF: sparse.csr_matrix, rows_N: NDArray[np.bool_]) -> sparse.csr_matrix:
    """The counts without those of some cells."""
    kept_P = ~np.repeat(rows_N, np.diff(counts_NF.indptr))
    starts = np.concatenate([[0], np.cumsum(np.where(rows_N, 0, np.diff(counts_NF.indptr)))])
    return sparse.csr_matrix((counts_NF.data[kept_P], counts_NF.indices[kept_P], starts), shape=counts_NF.shape)


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
        UserError: there are no cells, they are of another species, too many genes are missing, or the library size
            column does not exist.
    """
    if cells.n_cells == 0:
        raise UserError(f"{cells.source}: has no cells.")
    species = species_of(vocabulary["gene"])
    if not cells.has_two_genomes:
        require_species(cells.obs, species, cells.source)
        require_species_of_names(cells.genes, species, cells.source)
    match = match_table(vocabulary, cells.var, cells.source, min_coverage)
    sizes = choose_library_sizes(cells.obs, library_size_column, cells.source, cells.counts_in)
    symbols = named_by_symbol(vocabulary, cells.var, cells.source).genes
    read = CheckedCells(cells, match, sizes, _find(cells, match, HlaGenes.of(symbols.tolist(), species)))
    _require_coverage_of_panels(read, vocabulary, min_coverage)
    return read


def _require_coverage_of_panels(read: CheckedCells, vocabulary: pd.DataFrame, minimum: float) -> None:
    """Refuse a file with a panel that would be refused in a file of its own.

    Raises:
        UserError: a panel covers too little of what the model reads.
    """
    panels = read.findings.panels
    covered = [coverage_of_genes(vocabulary, one.match.column_G >= 0) for one in read.by_panel()]
    if panels is not None and min(covered) < minimum:
        raise UserError(
            f"{read.source}: {panels.described(read.names)}; the other genes cover {min(covered):.1%} of the "
            f"expression that the model reads, under the minimum of {minimum:.1%}: annotate a file without these "
            "cells, or lower --min-coverage (min_coverage in Python and in a job file)."
        )


def _find(cells: Cells, match: GeneMatch, hla: HlaGenes | None) -> Findings:
    """Read some of the cells, evenly spread over the file, to find panels and cells of another species.

    Raises:
        UserError: as `Cells.chunks`, or nearly all cells are of another species.
    """
    block_cells, starts = sampled_blocks(cells.n_cells)
    rows, parts, without, n_expected, n_without = list[NDArray[Any]](), list[Any](), list[NDArray[Any]](), 0, 0
    for start, counts_NF in cells.chunks(block_cells, starts):
        without_N = np.zeros(counts_NF.shape[0], dtype=bool)
        if hla is not None:
            expected_N, without_N = hla.expected(counts_NF), hla.without(counts_NF)
            n_expected, n_without = n_expected + int(expected_N.sum()), n_without + int((expected_N & without_N).sum())
        rows.append(np.arange(start, start + counts_NF.shape[0]))
        parts.append(match.select(counts_NF))
        without.append(without_N)
    rows_N, counts_NG = np.concatenate(rows), sparse.vstack(parts, format="csr")
    share = None if hla is None else foreign_share(n_expected, n_without)
    if share is not None and share >= NEARLY_ALL:
        raise UserError(
            f"{cells.source}: {n_without:,} of {n_expected:,} cells with counts of B2M or CD74 have no count of any "
            "HLA gene, so they are of another species although their genes have human names; use a "
            "model of their species."
        )
    if share is not None:
        counts_NG = _emptied(counts_NG, np.concatenate(without))
    panels = find_panels(cells.obs, rows_N, counts_NG)
    return Findings(panels, None if share is None else hla, share or 0.0)
