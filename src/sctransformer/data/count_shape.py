"""Whole numbers that are no counts, told by the shape of their rows: yes/no values, ranks, bins, rounded logarithms."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_VALUES = 100
"""Non-zero values from which "only one value" is a finding."""
_ROW_VALUES = 20
"""Non-zero values of a row from which its shape is judged."""
_ROWS = 20
"""Rows from which what they have in common is a finding."""
_MOST = 0.8
_MEAN, _TOP_GENES, _FEWEST_GENES = 1.5, 20, 5
_LEAST_DISPERSION = 0.5
"""Variance / mean. That of counts is at least about 1, because counting molecules is sampling."""
_LOG_VALUES, _LOG_LARGEST = 2000, 14
"""log1p of counts per million is below 14."""


def find_odd_shape(rows_NF: sparse.csr_matrix) -> str | None:
    """Find why whole numbers cannot be counts.

    Args:
        rows_NF: some rows, cells x genes; whole numbers that are not negative.

    Returns:
        What they look like, or None if they look like counts or are too few to tell.
    """
    rows_NF = rows_NF.copy()
    rows_NF.sum_duplicates()
    rows_NF.eliminate_zeros()
    values_P = rows_NF.data
    if len(values_P) >= _VALUES and values_P.min() == values_P.max():
        return f"only 0 and {values_P[0]:g}: it looks binary"
    rows = [row_P for row_P in np.split(values_P, rows_NF.indptr[1:-1]) if len(row_P) >= _ROW_VALUES]
    if not rows:
        return None
    if sum(map(_is_ranked, rows)) > _MOST * len(rows):
        return "the values of a cell are 1, 2, 3, ... by size: it looks like ranks or bins"
    largest_N = np.array([row_P.max() for row_P in rows])
    if len(rows) >= _ROWS and largest_N[0] > 2 and (largest_N == np.median(largest_N)).mean() > 0.9:
        return f"the largest value of nearly every cell is {np.median(largest_N):g}: it looks binned or cut off"
    if len(values_P) >= _LOG_VALUES and values_P.max() <= _LOG_LARGEST and not (values_P == 1).any():
        return "small whole numbers without a 1: it looks like rounded logarithms"
    if rows_NF.shape[0] >= _ROWS and _too_even(rows_NF):
        return "its largest genes vary less between cells than counts can: it looks like rounded logarithms"
    return None


def _is_ranked(row_P: NDArray[np.number]) -> bool:
    """Whether each value is the position of its gene among the sorted genes of the cell, whatever the rule for ties."""
    distinct, times = np.unique(row_P, return_counts=True)
    if len(distinct) < 3:
        return False
    last = np.cumsum(times)
    dense = len(distinct) >= _ROW_VALUES and distinct[-1] - distinct[0] + 1 == len(distinct)
    return bool(dense or np.array_equal(distinct, last) or np.array_equal(distinct, last - times + 1))


def _too_even(rows_NF: sparse.csr_matrix) -> bool:
    n_rows = rows_NF.shape[0]
    sum_F = np.asarray(rows_NF.sum(axis=0, dtype=np.float64)).ravel()
    wide_NF = rows_NF.astype(np.float64)
    square_F = np.asarray(wide_NF.multiply(wide_NF).sum(axis=0)).ravel()
    mean_F = sum_F / n_rows
    chosen = np.argsort(-mean_F)[:_TOP_GENES]
    chosen = chosen[mean_F[chosen] >= _MEAN]
    if len(chosen) < _FEWEST_GENES:
        return False
    variance = square_F[chosen] / n_rows - mean_F[chosen] ** 2
    return bool(np.median(variance / mean_F[chosen]) < _LEAST_DISPERSION)
