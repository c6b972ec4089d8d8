"""Statistics of a count matrix by cell and by gene, from chunks of cells, so that the matrix need not fit in memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.counts import INTEGER_TOLERANCE

MITOCHONDRIAL_PREFIX = "MT-"
"""Prefix of mitochondrial genes; case does not matter (human MT-CO1, mouse mt-Co1)."""


@dataclass(frozen=True)
class CountStatistics:
    """Statistics of a cells x genes matrix of counts. N: cells, G: genes, in file order."""

    counts_N: NDArray[np.float64]
    """Sum of the cell's counts."""
    genes_detected_N: NDArray[np.int64]
    """Number of genes with a non-zero count."""
    lowest_N: NDArray[np.float64]
    """Lowest value of the row, including zeros that are not stored."""
    largest_N: NDArray[np.float64]
    """Largest value of the row."""
    mitochondrial_share_N: NDArray[np.float64]
    """Fraction of the cell's counts in mitochondrial genes; 0 in a cell without counts."""
    fractional_N: NDArray[np.int64]
    """Number of values that are not integers, beyond float noise."""
    content_N: NDArray[np.uint64]
    """Hash of the row; equal for equal counts in any storage order; 0 for a row of zeros."""
    cells_G: NDArray[np.int64]
    """Number of cells that express the gene."""
    total_G: NDArray[np.float64]
    """Sum of the gene's counts."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.counts_N)

    def zero_share(self) -> NDArray[np.float64]:
        """Fraction of zeros of each cell, 0 to 1; 1 if there are no genes."""
        return 1.0 - self.genes_detected_N / max(len(self.cells_G), 1)

    def first_with_same_counts(self) -> NDArray[np.int64]:
        """Position of the first cell with the same counts for each cell; its own position if there is none before it.

        Cells without counts are not compared. Rows are compared by their 64-bit hash: among a million cells the
        probability that two different rows are treated as equal is 3e-8.
        """
        own_N = np.arange(self.n_cells)
        _, first, row_N = np.unique(self.content_N, return_index=True, return_inverse=True)
        return np.where(self.genes_detected_N == 0, own_N, first[row_N])


def count_statistics(
    chunks: Iterable[tuple[int, sparse.csr_matrix]],
    genes: Iterable[str],
    on_progress: Callable[[int], None] = lambda done: None,
) -> CountStatistics:
    """Compute statistics in one pass over a matrix.

    Args:
        chunks: position of the first cell, and cells x genes in CSR; each cell once, in order (see `CellFile.chunks`).
        genes: names of the columns.
        on_progress: called with the number of cells done.
    """
    mitochondrial_G = np.array([name.upper().startswith(MITOCHONDRIAL_PREFIX) for name in genes], dtype=bool)
    n_genes = len(mitochondrial_G)
    key_G = _mix(np.arange(1, n_genes + 1, dtype=np.uint64))
    cells_G, total_G = np.zeros(n_genes, dtype=np.int64), np.zeros(n_genes)
    parts = [_of_rows(sparse.csr_matrix((0, n_genes)), key_G, mitochondrial_G)]  # a file may have no cells
    for start, chunk_NG in chunks:
        rows_NG = _stored_once(chunk_NG)
        parts.append(_of_rows(rows_NG, key_G, mitochondrial_G))
        cells_G += np.bincount(rows_NG.indices, minlength=n_genes)
        total_G += np.bincount(rows_NG.indices, weights=rows_NG.data, minlength=n_genes)
        on_progress(start + chunk_NG.shape[0])
    counts_N, detected_N, lowest_N, largest_N, share_N, fractional_N, content_N = map(
        np.concatenate, zip(*parts, strict=True)
    )
    return CountStatistics(
        counts_N, detected_N, lowest_N, largest_N, share_N, fractional_N, content_N, cells_G=cells_G, total_G=total_G
    )


def _stored_once(counts_NG: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same matrix with every pair stored at most once and no zero stored; what came in is left as it was."""
    if counts_NG.has_canonical_format and counts_NG.data.all():
        return counts_NG
    tidy_NG = counts_NG.copy()
    tidy_NG.sum_duplicates()
    tidy_NG.eliminate_zeros()
    return tidy_NG


def _of_rows(
    rows_NG: sparse.csr_matrix, key_G: NDArray[np.uint64], mitochondrial_G: NDArray[np.bool_]
) -> tuple[NDArray, ...]:
    """The fields of `CountStatistics` by cell, in its order, for rows without stored zeros."""
    values_P, indptr = rows_NG.data.astype(np.float64), rows_NG.indptr
    rounded_P = np.rint(values_P)
    detected_N = np.diff(indptr).astype(np.int64)
    holds_zero_N = detected_N < rows_NG.shape[1]
    counts_N = _by_row(np.add, values_P, indptr)
    lowest_N = _by_row(np.minimum, values_P, indptr)
    largest_N = _by_row(np.maximum, values_P, indptr)
    mitochondrial_N = np.zeros(len(detected_N))
    if mitochondrial_G.any():
        mitochondrial_N = _by_row(np.add, values_P * mitochondrial_G[rows_NG.indices], indptr)
    return (
        counts_N,
        detected_N,
        np.where(holds_zero_N, np.minimum(lowest_N, 0.0), lowest_N),
        np.where(holds_zero_N, np.maximum(largest_N, 0.0), largest_N),
        np.divide(mitochondrial_N, counts_N, out=np.zeros(len(counts_N)), where=counts_N > 0),
        _by_row(np.add, (np.abs(values_P - rounded_P) > INTEGER_TOLERANCE).astype(np.int64), indptr),
        # a sum does not depend on the order of its terms, so neither does the hash on that of storage
        _by_row(np.add, _mix(key_G[rows_NG.indices] ^ _mix(rounded_P.view(np.uint64))), indptr),
    )


def _by_row(reduce: np.ufunc, values_P: NDArray, indptr: NDArray) -> NDArray:
    """Reduce stored values row by row; 0 for a row that stores none."""
    filled_N = np.diff(indptr) > 0
    result_N = np.zeros(len(filled_N), dtype=values_P.dtype)
    if filled_N.any():  # empty rows take no values: the starts of the others cut the values where they should
        result_N[filled_N] = reduce.reduceat(values_P, indptr[:-1][filled_N])
    return result_N


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread each value over 64 bits: the output function of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, fig. 15)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
