"""Mean and standard deviation of each gene over chunks of cells."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.moments import GeneMoments
from sctransformer.data.normalise import log1p_cp10k
from tests.conftest import simulated_cells


def moments_of(counts: sparse.csr_matrix, library_size_N: np.ndarray, rows: int = 10**6) -> GeneMoments:
    moments = GeneMoments(counts.shape[1])
    for start in range(0, counts.shape[0], rows):
        moments.add(counts[start : start + rows], library_size_N[start : start + rows])
    return moments


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 90), seed=st.integers(0, 1000))
def test_moments_do_not_depend_on_chunks(rows: int, seed: int) -> None:
    cells = simulated_cells(90, seed)
    library_size_N = cells.obs[OBS.library_size].to_numpy()
    expression = log1p_cp10k(cells.X, library_size_N).toarray()
    moments = moments_of(cells.X, library_size_N, rows)
    np.testing.assert_allclose(moments.mean_G, expression.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moments.std_G, expression.std(axis=0), rtol=1e-8)
