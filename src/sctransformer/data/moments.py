"""Mean and standard deviation of each gene's expression, accumulated over chunks of cells."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.normalise import log1p_cp10k


@dataclass
class GeneMoments:
    """Mean and variance of each gene, updated one chunk at a time; memory grows with the number of genes only."""

    n_genes: int
    n_cells: int = 0
    detected_G: NDArray[np.int64] = field(init=False)
    """Number of cells in which each gene has a count."""
    _expression: tuple[NDArray[np.float64], ...] = field(init=False)

    def __post_init__(self) -> None:
        self.detected_G = np.zeros(self.n_genes, dtype=np.int64)
        zeros_G = np.zeros(self.n_genes)
        self._expression = (zeros_G, zeros_G, zeros_G)

    def add(self, counts_NG: sparse.csr_matrix, library_size_N: NDArray[np.floating]) -> None:
        """Add cells.

        Args:
            counts_NG: raw counts, cells x genes, CSR.
            library_size_N: total counts of each cell.
        """
        if counts_NG.shape[0] == 0:
            return
        from sklearn.utils.sparsefuncs import incr_mean_variance_axis  # its import takes seconds

        self.n_cells += counts_NG.shape[0]
        self.detected_G += np.bincount(counts_NG.indices[counts_NG.data > 0], minlength=self.n_genes)
        mean_G, variance_G, cells_G = self._expression
        expression_NG = log1p_cp10k(counts_NG.astype(np.float64), library_size_N)
        self._expression = incr_mean_variance_axis(
            expression_NG, axis=0, last_mean=mean_G, last_var=variance_G, last_n=cells_G
        )

    @property
    def mean_G(self) -> NDArray[np.float64]:
        """Mean of log1p of counts per 10,000."""
        return self._expression[0]

    @property
    def std_G(self) -> NDArray[np.float64]:
        """Population standard deviation of log1p of counts per 10,000."""
        return np.sqrt(self._expression[1])
