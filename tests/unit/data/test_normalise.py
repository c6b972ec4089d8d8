"""log1p of counts per 10,000: numpy, scipy.sparse and the model's torch agree."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from sctransformer.data.normalise import log1p_cp10k
from sctransformer.model.tokens import log_normalise

COUNTS = arrays.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(5)), elements=st.integers(0, 2**20))


def test_normalisation_uses_the_library_size_of_the_whole_cell() -> None:
    expression_NG = log1p_cp10k(np.array([[2.0, 0.0]]), np.array([4000.0]))
    assert expression_NG.tolist() == [[pytest.approx(np.log1p(5.0)), 0.0]]


@given(counts_NG=COUNTS, data=st.data())
def test_numpy_sparse_and_torch_agree(counts_NG: np.ndarray, data: st.DataObject) -> None:
    sizes = arrays.arrays(np.float32, len(counts_NG), elements=st.integers(0, 10**7))
    library_size_N = data.draw(sizes)
    expected = log_normalise(torch.from_numpy(counts_NG), torch.from_numpy(library_size_N)).numpy()
    dense = log1p_cp10k(counts_NG, library_size_N)
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, expected, rtol=1e-6)
    from_sparse = log1p_cp10k(sparse.csr_matrix(counts_NG), library_size_N)
    assert from_sparse.dtype == np.float32
    np.testing.assert_array_equal(from_sparse.toarray(), dense)


def test_the_counts_are_not_changed() -> None:
    counts = sparse.csr_matrix(np.array([[3.0, 0.0, 1.0]]))
    before = counts.copy()
    expression = log1p_cp10k(counts, np.array([4.0]))
    expression.indices[:] = 0
    np.testing.assert_array_equal(counts.toarray(), before.toarray())
