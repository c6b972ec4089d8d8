"""log1p counts per 10,000 for everything outside the model, and what is known of each gene from all training cells."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.sparsefuncs import incr_mean_variance_axis

from sctransformer._constants import TARGET_SUM


def log_normalised(counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> sparse.csr_matrix:
    """log1p of counts per 10,000 of the whole cell, cells x genes; zeros stay unstored."""
    result = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
    result.data *= np.repeat(TARGET_SUM / np.maximum(library_size_N, 1.0), np.diff(result.indptr))
    np.log1p(result.data, out=result.data)
    return result


@dataclass
class GeneMoments:
    """Mean and variance of each gene, built up chunk by chunk; memory grows with genes alone."""

    n_genes: int
    n_cells: int = 0
    _logged: tuple[NDArray[np.float64], ...] = field(init=False)

    def __post_init__(self) -> None:
        zeros_G = np.zeros(self.n_genes)
        self._logged = (zeros_G, zeros_G, zeros_G)

    def add(self, counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> None:
        """Take cells in: raw counts, cells x genes, and counts of the whole cell."""
        if counts.shape[0] == 0:
            return
        self.n_cells += counts.shape[0]
        self._logged = _with(self._logged, log_normalised(counts, library_size_N))

    @property
    def mean_G(self) -> NDArray[np.float64]:
        """Mean of log1p counts per 10,000."""
        return self._logged[0]

    @property
    def std_G(self) -> NDArray[np.float64]:
        """Population standard deviation of log1p counts per 10,000."""
        return np.sqrt(self._logged[1])


def _with(moments: tuple[NDArray[np.float64], ...], values: sparse.csr_matrix) -> tuple[NDArray[np.float64], ...]:
    mean_G, variance_G, cells_G = moments
    return tuple(incr_mean_variance_axis(values, axis=0, last_mean=mean_G, last_var=variance_G, last_n=cells_G))
