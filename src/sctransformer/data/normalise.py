"""log1p counts per 10,000 for everything outside the model: gene choice, baselines, statistics."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.sparsefuncs import mean_variance_axis

from sctransformer._constants import TARGET_SUM


def log_normalised(counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> sparse.csr_matrix:
    """log1p of counts per 10,000 of the whole cell, cells x genes; zeros stay unstored."""
    result = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
    result.data *= np.repeat(TARGET_SUM / np.maximum(library_size_N, 1.0), np.diff(result.indptr))
    np.log1p(result.data, out=result.data)
    return result


def mean_and_std(expression: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of each gene, genes."""
    mean_G, variance_G = mean_variance_axis(expression, axis=0)
    return mean_G, np.sqrt(variance_G)
