"""Initialization with principal components: equal to scikit-learn's, independent of labels."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sctransformer.data.arrays import CellArrays, take
from sctransformer.errors import UserError
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.training import pca_init
from sctransformer.training.pca_init import init_from_pca
from tests.conftest import arrays, expression, simulated_cells, small_model
from tests.unit.training.training_runs import assert_same_weights, with_other_labels


def embedded(model: PriorBiasedTransformer, cells: CellArrays) -> np.ndarray:
    """Cell embeddings."""
    with torch.no_grad():
        counts_NG, library_size_N = torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N)
        return model(counts_NG, library_size_N).embedding_NE.numpy()


def standardised(model: PriorBiasedTransformer, cells: CellArrays) -> np.ndarray:
    """Standardised expression."""
    return model.tokens.standardised(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N)).numpy()


def dense_model(embedding: int) -> PriorBiasedTransformer:
    """A model without a prior, with an embedding of any length."""
    torch.manual_seed(0)
    config = ModelConfig(
        n_genes=24,
        n_regulators=4,
        n_classes=3,
        mode="dense",
        width=8,
        heads=2,
        feedforward=8,
        readout_heads=2,
        embedding=embedding,
    )
    model = PriorBiasedTransformer(config, None)
    expression_NG = expression(arrays(simulated_cells()))
    model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
    return model


@pytest.mark.parametrize("model", [small_model(), dense_model(8)], ids=["mask", "dense"])
def test_the_embedding_is_that_of_scikit_learn_up_to_sign(model: PriorBiasedTransformer) -> None:
    """Also for other cells; the first component of the training cells has unit variance."""
    cells, others = arrays(simulated_cells()), arrays(simulated_cells(seed=1))
    loading_EG = init_from_pca(model, [cells], seed=0)
    pca = PCA(8, svd_solver="full").fit(standardised(model, cells))
    for some in (cells, others):
        expected_NE = pca.transform(standardised(model, some))
        expected_NE /= pca.transform(standardised(model, cells))[:, 0].std()
        found_NE = embedded(model, some)
        sign_E = np.sign((found_NE * expected_NE).sum(axis=0))
        np.testing.assert_allclose(found_NE * sign_E, expected_NE, atol=2e-5)
    assert embedded(model, cells)[:, 0].std() == pytest.approx(1.0, abs=1e-4)
    restored_NG = embedded(model, cells) @ loading_EG.numpy() + pca.mean_
    expected_NG = pca.inverse_transform(pca.transform(standardised(model, cells)))
    np.testing.assert_allclose(restored_NG, expected_NG, atol=1e-4)


def test_the_result_does_not_depend_on_labels_or_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = arrays(simulated_cells())
    whole, relabelled, pieces = small_model(), small_model(), small_model()
    init_from_pca(whole, [cells], seed=0)
    init_from_pca(relabelled, [with_other_labels(cells)], seed=0)
    assert_same_weights(whole.state_dict(), relabelled.state_dict())
    monkeypatch.setattr(pca_init, "BATCH_CELLS", 7)
    parts = [take([cells], np.arange(50)), take([cells], np.arange(50, 90))]
    init_from_pca(pieces, parts, seed=0)
    np.testing.assert_allclose(embedded(pieces, cells), embedded(whole, cells), atol=1e-4)


def test_many_cells_are_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = arrays(simulated_cells())
    monkeypatch.setattr(pca_init, "MAX_CELLS", 40)
    models = [small_model() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        init_from_pca(model, [cells], seed=seed)
    assert_same_weights(models[0].state_dict(), models[1].state_dict())
    assert not np.allclose(embedded(models[0], cells), embedded(models[2], cells), atol=1e-3)


def test_dimensions_without_a_component_are_zero() -> None:
    """24 genes, two of them constant, give 22 components; five cells give four."""
    cells = arrays(simulated_cells())
    cells.counts_NG[:, [5, 11]] = 0.0
    model = dense_model(32)
    expression_NG = expression(cells)
    model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
    init_from_pca(model, [cells], seed=0)
    assert (embedded(model, cells).std(axis=0) > 1e-6).sum() == 22
    few = take([cells], np.arange(5))
    loading_EG = init_from_pca(model, [few], seed=0)
    assert (embedded(model, few).std(axis=0) > 1e-6).sum() == 4
    assert (loading_EG.abs().sum(dim=1) > 0).sum() == 4


@pytest.mark.parametrize("n_cells", [1, 2])
def test_identical_cells_give_an_embedding_of_zeros(n_cells: int) -> None:
    cells = arrays(simulated_cells(1))
    alike = take([cells], np.zeros(n_cells, dtype=int))
    model = small_model()
    init_from_pca(model, [alike], seed=0)
    np.testing.assert_allclose(embedded(model, alike), 0.0, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_counts_are_refused(value: float) -> None:
    cells = arrays(simulated_cells())
    cells.counts_NG[5, 5] = value
    if np.isinf(value):
        cells.library_size_N[5] = np.nan
    with pytest.raises(UserError, match="not finite"):
        init_from_pca(small_model(), [cells], seed=0)
