"""Class-balanced logistic regression: equal to scikit-learn's, whatever the start."""

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from sctransformer.training.balanced_logistic import (
    Coefficients,
    Curvature,
    balanced_loss,
    balanced_weights,
    fit_balanced,
)


def blobs(n_cells: int = 150, n_columns: int = 6, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of unequal size; the matrix has columns of unequal variance."""
    rng = np.random.default_rng(0)
    labels_N = rng.choice(n_classes, n_cells, p=np.array([0.7, 0.2, 0.1])[:n_classes])
    x_NV = rng.normal(size=(n_cells, n_columns)) + rng.normal(size=(n_classes, n_columns))[labels_N]
    return (x_NV * np.linspace(0.2, 2.0, n_columns)).astype(np.float32), labels_N


def fit_one(x_NV: np.ndarray, labels_N: np.ndarray, penalty: float, start: Coefficients | None = None) -> Coefficients:
    """One fit."""
    curvature = Curvature((x_NV**2).mean(axis=0))
    return fit_balanced(x_NV, labels_N[None], 3, penalty, curvature, None if start is None else [start])[0]


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_probabilities_are_those_of_scikit_learn(penalty: float) -> None:
    x_NV, labels_N = blobs()
    found = fit_one(x_NV, labels_N, penalty)
    model = LogisticRegression(C=1 / (penalty * len(x_NV)), class_weight="balanced", tol=1e-8, max_iter=5000)
    expected_NC = model.fit(x_NV.astype(np.float64), labels_N).predict_proba(x_NV)
    np.testing.assert_allclose(special.softmax(found.logits(x_NV), axis=1), expected_NC, atol=0.05)


def test_the_start_and_the_curvature_do_not_change_the_solution() -> None:
    x_NV, labels_N = blobs()
    expected_NC = special.softmax(fit_one(x_NV, labels_N, 1e-2).logits(x_NV), axis=1)
    start = fit_one(x_NV, labels_N, 1.0)
    direction_VM = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0].astype(np.float32)
    low_rank = Curvature(((x_NV @ direction_VM) ** 2).mean(axis=0), direction_VM, rest=0.5)
    for found in (
        fit_one(x_NV, labels_N, 1e-2, start),
        fit_balanced(x_NV, labels_N[None], 3, 1e-2, low_rank)[0],
        fit_balanced(x_NV, labels_N[None], 3, 1e-2, low_rank, [start])[0],
    ):
        np.testing.assert_allclose(special.softmax(found.logits(x_NV), axis=1), expected_NC, atol=0.02)


def test_several_fits_at_once_are_each_as_alone() -> None:
    x_NV, labels_N = blobs()
    labels_IN = np.stack([np.where(np.arange(150) % 3 == fold, -1, labels_N) for fold in range(3)])
    together = fit_balanced(x_NV, labels_IN, 3, 1e-2, Curvature((x_NV**2).mean(axis=0)))
    for one_N, found in zip(labels_IN, together, strict=True):
        used_N = one_N >= 0
        alone = fit_one(x_NV[used_N], labels_N[used_N], 1e-2)
        probability_NC, expected_NC = (special.softmax(one.logits(x_NV), axis=1) for one in (found, alone))
        np.testing.assert_allclose(probability_NC, expected_NC, atol=0.02)


def test_scaled_coefficients_have_scaled_logits() -> None:
    x_NV, labels_N = blobs()
    found = fit_one(x_NV, labels_N, 1e-2)
    np.testing.assert_allclose(found.scaled(2.0).logits(x_NV), 2 * found.logits(x_NV), rtol=1e-5, atol=1e-5)


def test_classes_weigh_the_same_whatever_their_size() -> None:
    labels_N = np.array([0, 0, 0, 1, -1])
    np.testing.assert_allclose(balanced_weights(labels_N, 2), [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0])
    log_probability_NC = np.log([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [np.nan, np.nan]])
    assert balanced_loss(log_probability_NC, labels_N) == pytest.approx((np.log(2) + np.log(10)) / 2)
