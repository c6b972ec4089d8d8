"""log1p counts per 10,000 for everything outside the model, and what is known of each gene from all training cells."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.sparsefuncs import incr_mean_variance_axis

from sctransformer._constants import TARGET_SUM

BINS = 20
"""Bins of mean expression among which dispersions are compared."""


def per_target_sum(counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> sparse.csr_matrix:
    """Counts per 10,000 of the whole cell, cells x genes; zeros stay unstored."""
    result = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
    result.data *= np.repeat(TARGET_SUM / np.maximum(library_size_N, 1.0), np.diff(result.indptr))
    return result


def log_normalised(counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> sparse.csr_matrix:
    """log1p of counts per 10,000 of the whole cell, cells x genes; zeros stay unstored."""
    result = per_target_sum(counts, library_size_N)
    np.log1p(result.data, out=result.data)
    return result


@dataclass
class GeneMoments:
    """Mean and variance of each gene, built up chunk by chunk; memory grows with genes alone."""

    n_genes: int
    n_cells: int = 0
    _plain: tuple[NDArray[np.float64], ...] = field(init=False)
    _logged: tuple[NDArray[np.float64], ...] = field(init=False)

    def __post_init__(self) -> None:
        zeros_G = np.zeros(self.n_genes)
        self._plain = self._logged = (zeros_G, zeros_G, zeros_G)

    def add(self, counts: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> None:
        """Take cells in: raw counts, cells x genes, and counts of the whole cell."""
        if counts.shape[0] == 0:
            return
        self.n_cells += counts.shape[0]
        plain = per_target_sum(counts, library_size_N)
        self._plain = _with(self._plain, plain)
        np.log1p(plain.data, out=plain.data)
        self._logged = _with(self._logged, plain)

    @property
    def mean_G(self) -> NDArray[np.float64]:
        """Mean of log1p counts per 10,000."""
        return self._logged[0]

    @property
    def std_G(self) -> NDArray[np.float64]:
        """Population standard deviation of log1p counts per 10,000."""
        return np.sqrt(self._logged[1])

    @property
    def dispersion_G(self) -> NDArray[np.float64]:
        """Seurat's normalised dispersion: how much more a gene varies than genes of its mean do; 0 where undefined.

        The same as `scanpy.pp.highly_variable_genes(flavor="seurat")` gives
        (https://scanpy.readthedocs.io/en/stable/api/generated/scanpy.pp.highly_variable_genes.html), which needs all
        cells in memory: genes are binned by log1p of their mean, and the log of variance over mean is standardised
        within a bin; a gene that is alone in its bin gets 1.
        """
        mean_G = np.maximum(self._plain[0], 1e-12)
        variance_G = self._plain[1] * (self.n_cells / max(1, self.n_cells - 1))
        ratio_G = variance_G / mean_G
        logged_G = pd.Series(np.log(np.where(ratio_G > 0, ratio_G, np.nan)))
        by_bin = logged_G.groupby(pd.cut(pd.Series(np.log1p(mean_G)), bins=BINS), observed=True)
        standardised_G = (logged_G - by_bin.transform("mean")) / by_bin.transform("std")
        standardised_G[by_bin.transform("std").isna() & logged_G.notna()] = 1.0
        return np.nan_to_num(standardised_G.to_numpy(dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _with(moments: tuple[NDArray[np.float64], ...], values: sparse.csr_matrix) -> tuple[NDArray[np.float64], ...]:
    mean_G, variance_G, cells_G = moments
    return tuple(incr_mean_variance_axis(values, axis=0, last_mean=mean_G, last_var=variance_G, last_n=cells_G))
