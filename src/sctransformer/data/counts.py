"""Check that values are raw counts: finite, non-negative integers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.count_shape import find_odd_shape
from sctransformer.errors import UserError

INTEGER_TOLERANCE = 1e-3
"""Allowed distance of a count from an integer."""
LARGEST_COUNT = 2.0**24
"""Integers up to this are exact in float32; no cell has this many molecules of a gene."""
LOG_CEILING = 30.0
"""log1p of any real count is smaller; larger fractional values are not logarithms."""


ZEROS = "zeros only"
"""What `describe_fault` says of a matrix without counts."""


def find_fault(values: NDArray[Any]) -> tuple[NDArray[np.bool_], str, str] | None:
    """Find values that are not raw counts.

    Returns:
        A mask of the invalid values, what is wrong with them, and advice; None if all are counts.
    """
    if values.dtype.kind == "b":
        return None
    if values.dtype == np.float16:  # it cannot hold LARGEST_COUNT
        values = values.astype(np.float32)
    if _are_counts(values):
        return None
    finite = np.isfinite(values)
    if not finite.all():
        return ~finite, "neither a number nor zero", "remove or repair the cell"
    if (negative := values < 0).any():
        return negative, "negative", "it looks scaled; give raw counts"
    if (huge := values > LARGEST_COUNT).any():
        return huge, "larger than any count", "give counts of molecules or reads"
    if values.dtype.kind in "iu":
        return None
    if (fractional := np.abs(values - np.round(values)) > INTEGER_TOLERANCE).any():
        kind = "log-normalised" if float(values.max()) < LOG_CEILING else "normalised"
        return fractional, "not an integer", f"it looks {kind}; give raw counts"
    return None


def _are_counts(values: NDArray[Any]) -> bool:
    """Whether all values are whole numbers in the range of counts: quick, for the usual case."""
    if not len(values):
        return True
    in_range = bool(values.min() >= 0 and values.max() <= LARGEST_COUNT)  # False if any is NaN
    return in_range and (values.dtype.kind in "iu" or bool((np.rint(values) == values).all()))


def describe_fault(values: NDArray[Any], rows_NF: sparse.csr_matrix) -> str | None:
    """Why values, and some of their rows (cells x genes), do not look like raw counts; None if they do."""
    fault = find_fault(values)
    if fault is not None:
        _, found, advice = fault
        return f"{found}: {advice.partition(';')[0]}"
    if not values.any():
        return ZEROS
    whole_NF = rows_NF.copy()
    if whole_NF.dtype.kind == "f":
        np.rint(whole_NF.data, out=whole_NF.data)
    return find_odd_shape(whole_NF)


def check_counts(
    counts: sparse.csr_matrix,
    source: str,
    cells: Sequence[str] | pd.Index,
    genes: Sequence[str] | pd.Index,
    first_cell: int = 0,
) -> None:
    """Check that a matrix holds raw counts.

    Args:
        counts: cells x genes, CSR.
        source: name of the matrix in errors, for example `cells.h5ad: X`.
        cells, genes: names, for errors; `cells` are all cells of the file.
        first_cell: position of the first row of `counts` in `cells`.

    Raises:
        UserError: a value is not a raw count; names the first such cell, gene and value, with advice.
    """
    fault = find_fault(counts.data)
    if fault is None:
        return
    bad, found, advice = fault
    position = int(np.argmax(bad))
    row = int(np.searchsorted(counts.indptr, position, side="right")) - 1
    cell, gene = cells[first_cell + row], genes[counts.indices[position]]
    raise UserError(
        f"{source}: expected raw counts, but cell {cell!r}, gene {gene!r} is {counts.data[position]:.6g}, {found}; "
        f"{advice}."
    )
