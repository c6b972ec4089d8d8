"""Class-balanced logistic regression: equal to scikit-learn's, whatever the start."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sctransformer.training.balanced_logistic import balanced_loss, balanced_weights, fit_balanced


def blobs(n_cells: int = 150, n_columns: int = 6, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of unequal size; the matrix has columns of unequal variance."""
    rng = np.random.default_rng(0)
    labels_N = rng.choice(n_classes, n_cells, p=np.array([0.7, 0.2, 0.1])[:n_classes])
    x_NV = rng.normal(size=(n_cells, n_columns)) + rng.normal(size=(n_classes, n_columns))[labels_N]
    return (x_NV * np.linspace(0.2, 2.0, n_columns)).astype(np.float32), labels_N


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_probabilities_are_those_of_scikit_learn(penalty: float) -> None:
    x_NV, labels_N = blobs()
    found = fit_balanced(x_NV, labels_N, (x_NV**2).mean(axis=0), 3, penalty)
    model = LogisticRegression(C=1 / (penalty * len(x_NV)), class_weight="balanced", tol=1e-8, max_iter=5000)
    expected_NC = model.fit(x_NV.astype(np.float64), labels_N).decision_function(x_NV)
    logits_NC = found.logits(x_NV)
    np.testing.assert_allclose(
        logits_NC - logits_NC.mean(axis=1, keepdims=True),
        expected_NC - expected_NC.mean(axis=1, keepdims=True),
        rtol=0.01,
        atol=0.05,
    )


def test_the_start_and_the_scale_of_columns_do_not_change_the_solution() -> None:
    x_NV, labels_N = blobs()
    variance_V = (x_NV**2).mean(axis=0)
    expected_NC = fit_balanced(x_NV, labels_N, variance_V, 3, 1e-2).logits(x_NV)
    start = fit_balanced(x_NV, labels_N, variance_V, 3, 1.0)
    for found in (
        fit_balanced(x_NV, labels_N, variance_V, 3, 1e-2, start),
        fit_balanced(x_NV, labels_N, np.ones(6), 3, 1e-2),
    ):
        np.testing.assert_allclose(found.logits(x_NV), expected_NC, rtol=0.01, atol=0.02)


def test_unused_cells_have_no_effect() -> None:
    x_NV, labels_N = blobs()
    variance_V = (x_NV**2).mean(axis=0)
    used_N = np.arange(len(x_NV)) % 3 > 0
    expected = fit_balanced(x_NV[used_N], labels_N[used_N], variance_V, 3, 1e-2)
    found = fit_balanced(x_NV, np.where(used_N, labels_N, -1), variance_V, 3, 1e-2)
    np.testing.assert_allclose(found.logits(x_NV), expected.logits(x_NV), rtol=0.01, atol=0.02)


def test_classes_weigh_the_same_whatever_their_size() -> None:
    labels_N = np.array([0, 0, 0, 1, -1])
    np.testing.assert_allclose(balanced_weights(labels_N, 2), [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0])
    log_probability_NC = np.log([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [np.nan, np.nan]])
    assert balanced_loss(log_probability_NC, labels_N) == pytest.approx((np.log(2) + np.log(10)) / 2)
