"""Principal components: equal to scikit-learn's, the same from memory and disk, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA

from sctransformer.data.arrays import CellArrays
from sctransformer.data.backed_cells import SparseCells
from sctransformer.errors import UserError
from sctransformer.training import components as module
from sctransformer.training.components import Components, principal_components
from tests.conftest import arrays, expression, simulated_cells

METHODS = ["covariance", "inner products", "krylov"]


def cells_for(method: str, monkeypatch: pytest.MonkeyPatch) -> CellArrays:
    """Cells from which the components are computed by this method, in several chunks."""
    monkeypatch.setattr(module, "BATCH_CELLS", 16)
    if method == "krylov":
        monkeypatch.setattr(module, "EXACT_SIZE", 10)
    return arrays(simulated_cells(20 if method == "inner products" else 90))


def assert_same_components(found: Components, expected: Components, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(found.mean_G, expected.mean_G, atol=atol)
    np.testing.assert_allclose(found.variance_M, expected.variance_M, rtol=1e-4)
    np.testing.assert_allclose(found.loading_GM, expected.loading_GM, atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_components_are_those_of_scikit_learn_up_to_sign(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_for(method, monkeypatch)
    found = principal_components([cells], 8)
    pca = PCA(8, svd_solver="full").fit(expression(cells).astype(np.float64))
    np.testing.assert_allclose(found.mean_G, pca.mean_, atol=1e-5)
    np.testing.assert_allclose(found.variance_M, pca.explained_variance_ * (1 - 1 / len(cells)), rtol=1e-4)
    cosine_M = (found.loading_GM * pca.components_.T).sum(axis=0)
    np.testing.assert_allclose(np.abs(cosine_M), 1.0, atol=1e-4)
    assert found.total_variance == pytest.approx(expression(cells).var(axis=0).sum(), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_loadings_are_orthonormal_and_the_largest_of_each_is_positive(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading_GM = principal_components([cells_for(method, monkeypatch)], 8).loading_GM
    np.testing.assert_allclose(loading_GM.T @ loading_GM, np.eye(8), atol=1e-5)
    assert (np.take_along_axis(loading_GM, np.abs(loading_GM).argmax(axis=0)[None], axis=0) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_parts_and_sparse_cells_give_the_same_bits_as_one_array(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_for(method, monkeypatch)
    expected = principal_components([cells], 8)
    stored = SparseCells(sparse.csr_matrix(cells.counts_NG), cells.library_size_N, cells.labels_N)
    for parts in ([cells], [cells.chunk(0, 7), cells.chunk(7, len(cells))], [stored]):
        found = principal_components(parts, 8)
        np.testing.assert_array_equal(found.mean_G, expected.mean_G)
        np.testing.assert_array_equal(found.loading_GM, expected.loading_GM)


def test_labels_have_no_effect() -> None:
    cells = arrays(simulated_cells())
    other = CellArrays(cells.counts_NG, cells.library_size_N, np.full(len(cells), -1))
    np.testing.assert_array_equal(
        principal_components([cells], 8).loading_GM, principal_components([other], 8).loading_GM
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_the_order_of_cells_and_genes_has_no_effect(seed: int) -> None:
    cells, rng = arrays(simulated_cells()), np.random.default_rng(seed)
    expected = principal_components([cells], 3)
    genes_G, rows_N = rng.permutation(cells.n_genes), rng.permutation(len(cells))
    moved = cells.take(rows_N)
    found = principal_components(
        [CellArrays(np.ascontiguousarray(moved.counts_NG[:, genes_G]), moved.library_size_N, moved.labels_N)], 3
    )
    np.testing.assert_allclose(found.mean_G, expected.mean_G[genes_G], atol=1e-5)
    np.testing.assert_allclose(found.variance_M, expected.variance_M, rtol=1e-4)
    cosine_M = (found.loading_GM * expected.loading_GM[genes_G]).sum(axis=0)
    np.testing.assert_allclose(np.abs(cosine_M), 1.0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_components_without_variance_are_left_out(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that are copies of three cells have two components."""
    cells = cells_for(method, monkeypatch)
    few = cells.take(np.arange(len(cells)) % 3)
    assert principal_components([few], 8).loading_GM.shape == (24, 2)
    same = cells.take(np.zeros(len(cells), dtype=np.int64))
    assert principal_components([same], 8).loading_GM.shape == (24, 0)


def test_large_data_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 40)
    cells = arrays(simulated_cells())
    assert principal_components([cells], 3).n_cells == 40


def test_progress_ends_at_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in METHODS:
        calls: list[tuple[int, int]] = []
        principal_components([cells_for(method, monkeypatch)], 3, on_progress=lambda *call, to=calls: to.append(call))
        assert calls == sorted(calls)
        assert calls[-1][0] == calls[-1][1]


def test_cells_that_are_not_finite_are_refused() -> None:
    cells = arrays(simulated_cells())
    cells.counts_NG[3, 5] = np.nan
    with pytest.raises(UserError, match="not finite"):
        principal_components([cells], 3)
    with pytest.raises(UserError, match="at least 2"):
        principal_components([cells.chunk(0, 1)], 3)


class GeneratedCells:
    """Cells that are made when they are read, so that only what is kept needs memory."""

    n_genes, in_memory = 500, False

    def __init__(self, n_cells: int) -> None:
        self.labels_N = np.zeros(n_cells, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, rows_N: np.ndarray) -> CellArrays:
        """Make cells, the same for the same first position."""
        rate_NG = np.linspace(0.1, 2.0, self.n_genes) * (1 + rows_N[:, None] % 3)
        counts_NG = np.random.default_rng(int(rows_N[0])).poisson(rate_NG).astype(np.float32)
        return CellArrays(counts_NG, np.full(len(rows_N), 5000, dtype=np.float32), self.labels_N[rows_N])

    def chunk(self, start: int, stop: int) -> CellArrays:
        """Make consecutive cells."""
        return self.take(np.arange(start, min(stop, len(self))))


def test_memory_does_not_grow_with_the_number_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the positions of the cells; the matrix of all 4,000 cells would take 8 MB."""
    monkeypatch.setattr(module, "BATCH_CELLS", 64)
    monkeypatch.setattr(module, "EXACT_SIZE", 50)
    monkeypatch.setattr(module, "PASSES", 3)
    peaks = []
    for n_cells in (500, 4000):
        tracemalloc.start()
        principal_components([GeneratedCells(n_cells)], 8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000
