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


def rejection_threshold(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], error: float, withheld: float = 0.0
) -> float:
    """The lowest confidence at which labels may be given, by two rules of which the stricter holds.

    Of the labels given at most a share `error` is wrong: cells are accepted from the most confident down; the threshold
    is the confidence of the last cell at which the share of wrong labels so far is within `error`. If no such cell
    exists nothing short of certainty is accepted.

    And the least confident share `withheld` of these cells is rejected, right or wrong. The first rule alone rejects
    nothing where the model is right often enough, and then finds no cell of a type that it does not know. What is paid
    is stated: that share of the labels.

    Returns:
        A confidence in [0, 1]; cells under it are `unknown`.
    """
    confidence_N, risk_N = _by_confidence(probabilities_NC, labels_N)
    within = np.flatnonzero(risk_N <= error)
    of_error = float(confidence_N[within[-1]]) if len(within) else 1.0
    return max(of_error, float(np.quantile(confidence_N, withheld, method="lower")) if withheld else 0.0)


def risk_coverage(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], points: int = 101
) -> list[dict[str, float]]:
    """The risk-coverage curve: what share of labels is wrong if only the most confident cells get one.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification" (JMLR 11).

    Returns:
        At most `points` points, from the strictest threshold to none: `threshold`, `coverage` (share of cells with a
        label) and `risk` (share of wrong labels among those).
    """
    confidence_N, risk_N = _by_confidence(probabilities_NC, labels_N)
    last_of_its_confidence = np.append(confidence_N[:-1] > confidence_N[1:], True)
    chosen = np.flatnonzero(last_of_its_confidence)
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(points, len(chosen))).round().astype(int))]
    return [
        {
            "threshold": float(confidence_N[n]),
            "coverage": round(float((n + 1) / len(labels_N)), 6),
            "risk": round(float(risk_N[n]), 6),
        }
        for n in chosen
    ]


def _by_confidence(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidences from the highest down, and the share of wrong labels up to each of them."""
    confidence_N = probabilities_NC.max(axis=1)
    wrong_N = probabilities_NC.argmax(axis=1) != labels_N
    order = np.argsort(-confidence_N, kind="stable")
    return confidence_N[order].astype(np.float64), np.cumsum(wrong_N[order]) / np.arange(1, len(order) + 1)


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
