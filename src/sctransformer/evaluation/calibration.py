"""Calibration on validation cells: one temperature, and the threshold under which a label is withheld."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits_NC: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    """The temperature that minimises the cross-entropy of softmax(logits / temperature).

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """

    def cross_entropy(log_temperature: float) -> float:
        scores_NC = log_softmax(logits_NC / np.exp(log_temperature), axis=1)
        return float(-scores_NC[np.arange(len(labels_N)), labels_N].mean())

    found = minimize_scalar(cross_entropy, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def probabilities(logits_NC: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Calibrated probabilities, cells x classes."""
    return np.asarray(softmax(logits_NC.astype(np.float64) / temperature, axis=1))


def rejection_threshold(probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], error: float) -> float:
    """The lowest confidence at which labels may be given so that at most a share `error` of them is wrong.

    Cells are accepted from the most confident down; the threshold is the confidence of the last cell at which the
    share of wrong labels so far is within `error`. If no such cell exists nothing short of certainty is accepted.

    Returns:
        A confidence in [0, 1]; cells under it are `unknown`.
    """
    confidence_N = probabilities_NC.max(axis=1)
    wrong_N = probabilities_NC.argmax(axis=1) != labels_N
    order = np.argsort(-confidence_N, kind="stable")
    risk_N = np.cumsum(wrong_N[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(risk_N <= error)
    return float(confidence_N[order[within[-1]]]) if len(within) else 1.0


def expected_calibration_error(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], bins: int = 10
) -> float:
    """Mean distance of confidence from accuracy over `bins` equal-width bins, weighted by their cells."""
    confidence_N = probabilities_NC.max(axis=1)
    right_N = probabilities_NC.argmax(axis=1) == labels_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    weights = np.bincount(bin_N, minlength=bins)
    gaps = np.abs(
        np.bincount(bin_N, weights=confidence_N, minlength=bins) - np.bincount(bin_N, weights=right_N, minlength=bins)
    )
    return float(gaps[weights > 0].sum() / len(labels_N))
