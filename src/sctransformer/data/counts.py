"""What counts must be: finite, non-negative integers. Everything that enters is checked here."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from sctransformer.errors import UserError

INTEGER_TOLERANCE = 1e-3
"""Float noise allowed around an integer count."""
LOG_CEILING = 30.0
"""log1p of any real count stays under this; larger fractional values are no log."""


def check_counts(
    counts: sparse.csr_matrix, source: str, cells: Sequence[str], genes: Sequence[str], first_cell: int = 0
) -> None:
    """Refuse anything that is not a raw count.

    Args:
        counts: cells x genes.
        source: what to call the matrix in the error, for example `cells.h5ad: X`.
        cells, genes: names, for the error. `cells` names the whole file.
        first_cell: position in `cells` of the first row, when `counts` is a chunk.

    Raises:
        UserError: with the first offending cell and gene, its value, and what the matrix looks like.
    """
    values = counts.data
    finite = np.isfinite(values)
    if not finite.all():
        found, advice = "neither a number nor zero", "remove or repair the cell"
        bad = ~finite
    elif (bad := values < 0).any():
        found, advice = "negative", "X looks scaled; give raw counts"
    elif (bad := np.abs(values - np.round(values)) > INTEGER_TOLERANCE).any():
        looks_logged = float(values.max()) < LOG_CEILING
        found = "not an integer"
        advice = "X looks log-normalised; give raw counts" if looks_logged else "X looks normalised; give raw counts"
    else:
        return
    position = int(np.argmax(bad))
    row = int(np.searchsorted(counts.indptr, position, side="right")) - 1
    cell, gene = cells[first_cell + row], genes[counts.indices[position]]
    raise UserError(
        f"{source}: expected raw counts, but cell {cell!r}, gene {gene!r} is {values[position]:.6g}, {found}; {advice}."
    )
