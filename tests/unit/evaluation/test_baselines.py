"""Logistic regression on the same cells."""

from sctransformer.evaluation.baselines import logistic_regression
from tests.conftest import arrays, simulated_cells


def test_logistic_regression_labels_simulated_cells() -> None:
    labels_N, chosen = logistic_regression(arrays(simulated_cells()), arrays(simulated_cells(seed=1)), 3, seed=0)
    assert (labels_N == arrays(simulated_cells(seed=1)).labels_N).mean() > 0.95
    assert chosen["folds"] == 3
