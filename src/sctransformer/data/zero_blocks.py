"""Genes that are zero in all cells of a group although other groups have plenty, as in panels joined with zeros."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

GROUP_COLUMNS = (
    *("batch", "panel", "dataset", "chemistry", "sample", "sample_id", "orig.ident", "library"),
    *("donor_id", "donor", "patient"),
)
"""Columns of obs whose groups are examined, in any letter case; the first that has at least two groups."""
_MOST_GROUPS = 200
_BLOCKS = 64
_BLOCK_CELLS = 512
_FEWEST_CELLS = 50
_EXPECTED = 20
"""Number of cells of a group that would have a gene at the rate of other groups, above which a gene is expected."""
_SHARE = 0.2
"""Fraction of the expected genes that a group lacks, from which the group is reported."""
_SHOWN = 3


@dataclass
class _Grouping:
    group_N: NDArray[np.int64]
    names: list[str]
    column: str | None
    detected_UG: NDArray[np.int32]
    """Cells of each group (rows) that have the gene."""
    seen_U: NDArray[np.int64]
    """Cells of each group that were added."""

    def add(self, start: int, n_cells: int, cell_P: NDArray[np.integer], gene_P: NDArray[np.integer]) -> None:
        group_N = self.group_N[start : start + n_cells]
        groups, place_N = np.unique(group_N, return_inverse=True)
        n_genes = self.detected_UG.shape[1]
        found = np.bincount(place_N[cell_P] * n_genes + gene_P, minlength=len(groups) * n_genes)
        known = groups >= 0
        self.detected_UG[groups[known]] += found.reshape(len(groups), n_genes)[known].astype(np.int32)
        self.seen_U[groups[known]] += np.bincount(place_N, minlength=len(groups))[known]

    def missing(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Groups that lack many genes, and the genes that any of them lacks."""
        groups, missing_G = [], np.zeros(self.detected_UG.shape[1], dtype=bool)
        total_G, total = self.detected_UG.sum(axis=0, dtype=np.int64), int(self.seen_U.sum())
        for group, seen in enumerate(self.seen_U.tolist()):
            others = total - seen
            if seen < _FEWEST_CELLS or others < _FEWEST_CELLS:
                continue
            expected_G = (total_G - self.detected_UG[group]) * (seen / others) >= _EXPECTED
            lacking_G = expected_G & (self.detected_UG[group] == 0)
            if lacking_G.any() and lacking_G.sum() >= _SHARE * expected_G.sum():
                groups.append(group)
                missing_G |= lacking_G
        return np.array(groups, dtype=np.int64), missing_G


class ZeroBlocks:
    """Counts, while cells are read, how many cells of each group have each gene.

    Groups are those of a column of obs (`GROUP_COLUMNS`), and blocks of consecutive cells. Memory: at most
    264 x genes integers.
    """

    def __init__(self, groupings: list[_Grouping]) -> None:
        self._groupings = groupings

    @classmethod
    def of(cls, obs: pd.DataFrame, n_genes: int) -> Self:
        """Counters for the groups of a table of cells."""
        groupings, written = [], {str(column).lower(): column for column in obs.columns}
        for name in GROUP_COLUMNS:
            if (column := written.get(name)) is None:
                continue
            codes_N, values = pd.factorize(obs[column])
            if 2 <= len(values) <= _MOST_GROUPS:
                groupings.append(_grouping(codes_N.astype(np.int64), list(map(str, values)), str(column), n_genes))
                break
        cells = max(_BLOCK_CELLS, -(-len(obs) // _BLOCKS))
        block_N = np.arange(len(obs), dtype=np.int64) // cells
        if len(obs) > cells:
            groupings.append(_grouping(block_N, [""] * int(block_N[-1] + 1), None, n_genes))
        return cls(groupings)

    def add(self, start: int, counts_NG: sparse.csr_matrix) -> None:
        """Add the counts of consecutive cells.

        Args:
            start: position of the first cell.
            counts_NG: cells x genes; each pair of a cell and a gene is stored at most once.
        """
        if self._groupings:
            n_cells, found_P = counts_NG.shape[0], counts_NG.data > 0
            cell_P = np.repeat(np.arange(n_cells), np.diff(counts_NG.indptr))[found_P]
            for grouping in self._groupings:
                grouping.add(start, n_cells, cell_P, counts_NG.indices[found_P])

    def notes(self, genes: Sequence[str]) -> tuple[str, ...]:
        """A sentence if groups lack many genes that other cells have; of the cells added so far.

        Args:
            genes: names of the genes that were added.
        """
        for grouping in self._groupings:
            groups, missing_G = grouping.missing()
            if not len(groups):
                continue
            cells = int(np.isin(grouping.group_N, groups).sum())
            some = ", ".join(str(genes[gene]) for gene in np.flatnonzero(missing_G)[:_SHOWN])
            where = "in blocks of consecutive cells"
            if grouping.column is not None:
                named = [grouping.names[group] for group in groups[:_SHOWN]] + ["..."] * (len(groups) > _SHOWN)
                where = f"obs[{grouping.column!r}]: {', '.join(named)}"
            return (
                f"{cells:,} of {len(grouping.group_N):,} cells ({where}) have no count of "
                f"{int(missing_G.sum()):,} genes that other cells have often ({some}, ...), as when panels of "
                "different genes are joined with zeros; a zero is read as not expressed: annotate the file of each "
                "panel by itself",
            )
        return ()


def _grouping(group_N: NDArray[np.int64], names: list[str], column: str | None, n_genes: int) -> _Grouping:
    empty_UG = np.zeros((len(names), n_genes), dtype=np.int32)
    return _Grouping(group_N, names, column, empty_UG, np.zeros(len(names), dtype=np.int64))
