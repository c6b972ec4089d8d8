"""Normalisation of counts outside the model: log1p of counts per 10,000, as `scanpy.pp.normalize_total` and `log1p`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import TARGET_SUM


def log1p_cp10k(counts_NG: Any, library_size_N: NDArray[np.floating]) -> Any:
    """log1p of counts per 10,000 of the whole cell.

    The model normalises in torch with the same formula, see `sctransformer.model.tokens.log_normalise`.

    Args:
        counts_NG: raw counts, cells x genes, a dense array or a CSR matrix; not changed.
        library_size_N: total counts of each cell, over all genes that were measured. Values under 1 count as 1.

    Returns:
        Expression, cells x genes, dense or CSR as the counts; float32 where both arguments are, else float64.

    Examples:
        >>> log1p_cp10k(np.array([[2.0, 0.0]]), np.array([4000.0])).round(3)
        array([[1.792, 0.   ]])
    """
    scale_N = TARGET_SUM / np.maximum(library_size_N, 1.0)
    if not sparse.issparse(counts_NG):
        return np.log1p(counts_NG * scale_N[:, None])
    values_P = counts_NG.data * np.repeat(scale_N, np.diff(counts_NG.indptr))
    return sparse.csr_matrix(
        (np.log1p(values_P, out=values_P), counts_NG.indices.copy(), counts_NG.indptr.copy()), counts_NG.shape
    )


def average_counts(mean_A: NDArray[np.floating], library_size_N: NDArray[np.floating]) -> NDArray[np.floating]:
    """Counts of genes that are not measured, if they have their average expression, cells x genes; not integers.

    Args:
        mean_A: mean log1p of counts per 10,000 of each gene.
        library_size_N: total counts of each cell. Values under 1 count as 1.
    """
    share_A = np.expm1(np.maximum(mean_A, 0.0)) / TARGET_SUM
    return np.maximum(library_size_N, 1.0)[:, None] * share_A
