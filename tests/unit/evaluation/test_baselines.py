"""Logistic regression on the same cells."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.evaluation import baselines
from sctransformer.evaluation.baselines import fit_logistic_regression, logistic_regression
from tests.conftest import arrays, simulated_cells


def many_genes(n_cells: int, seed: int) -> CellArrays:
    """The simulated cells with 200 more genes of noise."""
    cells, rng = arrays(simulated_cells(n_cells, seed=seed)), np.random.default_rng(seed)
    noise_NG = rng.poisson(1.0, (n_cells, 200)).astype(np.float32)
    return CellArrays(np.hstack([cells.counts_NG, noise_NG]), cells.library_size_N, cells.labels_N)


@pytest.mark.parametrize("n_cells", [90, 400])
def test_the_fit_is_that_of_scikit_learn_on_all_genes(n_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer cells than genes it is computed on as many columns as cells."""
    monkeypatch.setattr(baselines, "_FEW_VALUES", 0)
    training, test = many_genes(n_cells, 0), many_genes(200, 1)
    label, chosen = fit_logistic_regression(training, 3, seed=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=chosen["C"], max_iter=1000))
    model.fit(log1p_cp10k(training.counts_NG, training.library_size_N), training.labels_N)
    expected_N = model.predict(log1p_cp10k(test.counts_NG, test.library_size_N))
    assert (label(test) == expected_N).mean() > 0.99


def test_the_penalty_is_chosen_on_some_of_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    training = arrays(simulated_cells(300))
    rare_N = np.flatnonzero(training.labels_N == 2)[:-4]
    training = training.take(np.setdiff1d(np.arange(300), rare_N))
    monkeypatch.setattr(baselines, "MOST_CELLS_TO_CHOOSE", 60)
    _, chosen = fit_logistic_regression(training, 5, seed=0)
    assert chosen["folds"] == 4  # all cells of the rare type are kept


def test_logistic_regression_labels_simulated_cells() -> None:
    labels_N, chosen = logistic_regression(arrays(simulated_cells()), arrays(simulated_cells(seed=1)), 3, seed=0)
    assert (labels_N == arrays(simulated_cells(seed=1)).labels_N).mean() > 0.95
    assert chosen["folds"] == 3
