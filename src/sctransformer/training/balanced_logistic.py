"""Multinomial logistic regression with an L2 penalty, in which all classes weigh the same."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

MAX_ITERATIONS = 300
TOLERANCE = 5e-4
"""Fits end where no partial derivative is larger, in scaled coordinates. Further steps change the log-loss of other
cells by less than 0.1 %."""
LEAST_DECREASE = 1e-6
"""Fits end where a step decreases the objective by less."""


class Coefficients(NamedTuple):
    """A linear map from the columns of a matrix to the logits of the classes."""

    weight_VC: NDArray[np.float64]
    bias_C: NDArray[np.float64]

    def scaled(self, factor: float) -> "Coefficients":
        """Coefficients whose logits are multiplied by a factor."""
        return Coefficients(self.weight_VC * factor, self.bias_C * factor)

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


class Curvature(NamedTuple):
    """Mean squares of the cells along some directions, by which the coordinates of a fit are scaled.

    It changes the number of iterations, not the solution.
    """

    variance_M: NDArray[np.float64]
    """Along each direction."""
    direction_VM: NDArray[np.float32] | None = None
    """Orthonormal directions; None if they are the columns."""
    rest: float = 0.0
    """Mean square along a direction orthogonal to all of these."""

    def scaled(self, x_VK: NDArray[np.float64], penalty: float, power: float) -> NDArray[np.float64]:
        """Multiply with a power of the expected Hessian, which is `variance + penalty`."""
        along_M = (self.variance_M + penalty) ** power
        if self.direction_VM is None:
            return along_M[:, None] * x_VK
        across = (self.rest + penalty) ** power
        return self.direction_VM @ ((along_M - across)[:, None] * (self.direction_VM.T @ x_VK)) + across * x_VK


def fit_balanced(
    x_NV: NDArray[np.float32],
    labels_IN: NDArray[np.int64],
    n_classes: int,
    penalty: float,
    curvature: Curvature,
    starts: Sequence[Coefficients] | None = None,
) -> list[Coefficients]:
    """Minimise the class-balanced log-loss plus `penalty / 2` times the sum of squared weights, by L-BFGS.

    The bias has no penalty. Several fits on the same matrix, such as those without each fold, are one optimisation, so
    that the matrix is read once per step; products with it are in single precision. In terms of scikit-learn's
    `LogisticRegression(class_weight="balanced")` with N cells, C is `1 / (N * penalty)`.

    Args:
        x_NV: cells x columns; the matrix is not copied.
        labels_IN: for each fit, the class index of each cell; a fit does not use cells with a negative one.
        n_classes: number of classes.
        penalty: strength of the penalty.
        curvature: mean squares of the cells.
        starts: initial coefficients of each fit, such as those of a larger penalty; zero by default.
    """
    n_fits, n_columns, factor = len(labels_IN), x_NV.shape[1], (n_classes - 1) / n_classes**2
    curvature = curvature._replace(variance_M=curvature.variance_M * factor, rest=curvature.rest * factor)
    fit_P, cell_P = np.nonzero(labels_IN >= 0)
    own_P = (cell_P, fit_P, labels_IN[fit_P, cell_P])
    weight_NI = np.stack([balanced_weights(labels_N, n_classes) for labels_N in labels_IN], axis=1)
    weight_P, weight_NI1 = weight_NI[cell_P, fit_P], weight_NI.astype(np.float32)[:, :, None]

    def objective(scaled: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled_VK = scaled.reshape(n_columns + 1, -1)  # all classes of all fits; the last row is the bias
        weight_VK = curvature.scaled(scaled_VK[:-1], penalty, -0.5)
        logits_NIC = x_NV @ weight_VK.astype(np.float32)
        logits_NIC += (scaled_VK[-1] * factor**-0.5).astype(np.float32)
        logits_NIC = logits_NIC.reshape(len(x_NV), n_fits, n_classes)
        logits_NIC -= logits_NIC.max(axis=2, keepdims=True)
        own_logit_P = logits_NIC[own_P]
        np.exp(logits_NIC, out=logits_NIC)
        sum_NI1 = logits_NIC.sum(axis=2, keepdims=True)
        loss = float(weight_P @ (np.log(sum_NI1[cell_P, fit_P, 0]) - own_logit_P))
        residual_NIC = logits_NIC
        residual_NIC *= weight_NI1 / sum_NI1
        residual_NIC[own_P] -= weight_P.astype(np.float32)
        residual_NK = residual_NIC.reshape(len(x_NV), -1)
        gradient_VK = np.empty_like(scaled_VK)
        gradient_VK[:-1] = curvature.scaled(x_NV.T @ residual_NK + penalty * weight_VK, penalty, -0.5)
        gradient_VK[-1] = residual_NK.sum(axis=0) * factor**-0.5
        return loss + penalty / 2 * float(np.vdot(weight_VK, weight_VK)), gradient_VK.ravel()

    first_VK = np.zeros((n_columns + 1, n_fits * n_classes))
    if starts is not None:
        first_VK[:-1] = curvature.scaled(np.hstack([one.weight_VC for one in starts]), penalty, 0.5)
        first_VK[-1] = np.hstack([one.bias_C for one in starts]) * factor**0.5
    found = optimize.minimize(
        objective,
        first_VK.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "gtol": TOLERANCE, "ftol": LEAST_DECREASE},
    )
    scaled_VK = found.x.reshape(n_columns + 1, -1)
    weights = np.hsplit(curvature.scaled(scaled_VK[:-1], penalty, -0.5), n_fits)
    biases = np.split(scaled_VK[-1] * factor**-0.5, n_fits)
    return [Coefficients(weight_VC, bias_C) for weight_VC, bias_C in zip(weights, biases, strict=True)]
