"""Multinomial logistic regression with an L2 penalty, in which all classes weigh the same."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

MAX_ITERATIONS = 300
TOLERANCE = 1e-4
"""The fit ends where no partial derivative is larger, in preconditioned coordinates."""
LEAST_DECREASE = 1e-7
"""The fit ends where a step decreases the objective by less; single precision resolves no more."""


class Coefficients(NamedTuple):
    """A linear map from the columns of a matrix to the logits of the classes."""

    weight_VC: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def logits(self, x_NV: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of each class, cells x classes."""
        return x_NV @ self.weight_VC.astype(np.float32) + self.bias_C.astype(np.float32)


def balanced_weights(labels_N: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Weight of each cell, so that the classes weigh the same and all cells together 1.

    Args:
        labels_N: class index of each cell; a negative one gives the weight 0.
        n_classes: number of classes.
    """
    used_N = labels_N >= 0
    cells_C = np.bincount(labels_N[used_N], minlength=n_classes)
    weight_N = np.zeros(len(labels_N))
    weight_N[used_N] = 1.0 / (np.count_nonzero(cells_C) * cells_C[labels_N[used_N]])
    return weight_N


def balanced_loss(log_probability_NC: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    """Mean over the classes of the mean negative log-probability of their cells.

    Args:
        log_probability_NC: cells x classes.
        labels_N: class index of each cell; cells with a negative one are left out.
    """
    weight_N = balanced_weights(labels_N, log_probability_NC.shape[1])
    own_N = log_probability_NC[np.arange(len(labels_N)), np.maximum(labels_N, 0)]
    return float(-(weight_N * np.where(weight_N > 0, own_N, 0.0)).sum())


def fit_balanced(
    x_NV: NDArray[np.float32],
    labels_N: NDArray[np.int64],
    variance_V: NDArray[np.float64],
    n_classes: int,
    penalty: float,
    start: Coefficients | None = None,
) -> Coefficients:
    """Minimise the class-balanced log-loss plus `penalty / 2` times the sum of squared weights, by L-BFGS.

    The bias has no penalty. Products with the matrix are in single precision. In terms of scikit-learn's
    `LogisticRegression(class_weight="balanced")` with N cells, C is `1 / (N * penalty)`.

    Args:
        x_NV: cells x columns; the matrix is not copied.
        labels_N: class index of each cell; cells with a negative one are not used.
        variance_V: mean square of each column. Coordinates are scaled by the expected curvature, which on principal
            components halves the number of iterations and does not change the solution.
        n_classes: number of classes.
        penalty: strength of the penalty.
        start: initial coefficients, such as those of a larger penalty; zero by default.
    """
    rows_N = np.flatnonzero(labels_N >= 0)
    own = (rows_N, labels_N[rows_N])
    weight_N = balanced_weights(labels_N, n_classes)
    weight_N1, own_weight_N = weight_N.astype(np.float32)[:, None], weight_N[rows_N]
    curvature = (n_classes - 1) / n_classes**2  # of the loss at zero
    scale_V1 = 1.0 / np.sqrt(np.append(curvature * variance_V + penalty, curvature))[:, None]

    def objective(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both_VC = scaled.reshape(-1, n_classes) * scale_V1
        single_VC = both_VC.astype(np.float32)
        logits_NC = x_NV @ single_VC[:-1]
        logits_NC += single_VC[-1]
        logits_NC -= logits_NC.max(axis=1, keepdims=True)
        own_N = logits_NC[own]
        np.exp(logits_NC, out=logits_NC)
        sum_N1 = logits_NC.sum(axis=1, keepdims=True)
        loss = float(own_weight_N @ (np.log(sum_N1[rows_N, 0]) - own_N))
        residual_NC = logits_NC
        residual_NC *= weight_N1 / sum_N1
        residual_NC[own] -= own_weight_N
        gradient_VC = np.empty_like(both_VC)
        np.multiply(both_VC[:-1], penalty, out=gradient_VC[:-1])
        gradient_VC[:-1] += x_NV.T @ residual_NC
        gradient_VC[-1] = residual_NC.sum(axis=0)
        gradient_VC *= scale_V1
        return loss + penalty / 2 * float(np.vdot(both_VC[:-1], both_VC[:-1])), gradient_VC.ravel()

    first_VC = np.zeros((len(scale_V1), n_classes)) if start is None else np.vstack(start) / scale_V1
    found = optimize.minimize(
        objective,
        first_VC.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "gtol": TOLERANCE, "ftol": LEAST_DECREASE},
    )
    both_VC = found.x.reshape(-1, n_classes) * scale_V1
    return Coefficients(both_VC[:-1], both_VC[-1])
