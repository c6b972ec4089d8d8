"""Calibration: the temperature, and the confidence below which a cell is `unknown`."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from sctransformer.evaluation.settings import EvaluationSettings

LOWEST, HIGHEST = 0.05, 20.0

CalibratedOn = Literal["validation", "cross-validation"]
"""Cells by which a model is calibrated: validation cells, or all labelled cells, each predicted without itself."""


def calibrate_logits(
    logits_NC: NDArray[np.floating], labels_N: NDArray[np.int64], params: EvaluationSettings, cells: CalibratedOn
) -> dict[str, Any]:
    """Temperature and rejection threshold, as calibration.json holds them.

    Args:
        logits_NC: logits of cells that the model was not trained on.
        labels_N: their labels.
        params: the rejection rules.
        cells: which cells they are.
    """
    temperature = fit_temperature(logits_NC, labels_N)
    probabilities_NC = probabilities(logits_NC, temperature)
    threshold = rejection_threshold(probabilities_NC, labels_N, params.rejection_error, params.withheld_share)
    return {
        "temperature": temperature,
        "rejection_threshold": threshold,
        "rejection_error": params.rejection_error,
        "withheld_share": params.withheld_share,
        "rejected_share": float((probabilities_NC.max(axis=1) < threshold).mean()),
        "risk_coverage": risk_coverage(probabilities_NC, labels_N),
        "cells": cells,
    }


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
    """The lowest confidence at which a cell gets a label: the stricter of two rules.

    1. At most a share `error` of the accepted cells may be wrong. Cells are accepted in order of falling confidence;
       the threshold is the confidence of the last cell up to which the share of wrong labels is within `error`, or 1 if
       there is no such cell.
    2. The least confident share `withheld` of the cells is rejected, whether right or wrong. Without this rule a model
       that is right often enough would reject nothing, and would not find cells of types it does not know.

    Returns:
        A confidence in [0, 1]; cells below it are `unknown`.
    """
    confidence_N, risk_N = _by_confidence(probabilities_NC, labels_N)
    within = np.flatnonzero(risk_N <= error)
    by_error = float(confidence_N[within[-1]]) if len(within) else 1.0
    by_share = float(np.quantile(confidence_N, withheld, method="lower")) if withheld else 0.0
    return max(by_error, by_share)


def risk_coverage(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], points: int = 101
) -> list[dict[str, float]]:
    """The risk-coverage curve: the share of wrong labels when only the most confident cells get a label.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification" (JMLR 11).

    Returns:
        At most `points` points, from the highest threshold to the lowest: `threshold`, `coverage` (share of cells with
        a label) and `risk` (share of wrong labels among these).
    """
    confidence_N, risk_N = _by_confidence(probabilities_NC, labels_N)
    last_of_tie_N = np.append(confidence_N[:-1] > confidence_N[1:], True)
    chosen = np.flatnonzero(last_of_tie_N)
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
    """Confidences in falling order, and the share of wrong labels among the cells up to each of them."""
    confidence_N = probabilities_NC.max(axis=1)
    wrong_N = probabilities_NC.argmax(axis=1) != labels_N
    order = np.argsort(-confidence_N, kind="stable")
    return confidence_N[order].astype(np.float64), np.cumsum(wrong_N[order]) / np.arange(1, len(order) + 1)


def expected_calibration_error(
    probabilities_NC: NDArray[np.floating], labels_N: NDArray[np.int64], bins: int = 10
) -> float:
    """Mean difference of confidence and accuracy over `bins` equal-width bins, weighted by the cells of each bin.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    confidence_N = probabilities_NC.max(axis=1)
    correct_N = probabilities_NC.argmax(axis=1) == labels_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    weights = np.bincount(bin_N, minlength=bins)
    gaps = np.abs(
        np.bincount(bin_N, weights=confidence_N, minlength=bins) - np.bincount(bin_N, weights=correct_N, minlength=bins)
    )
    return float(gaps[weights > 0].sum() / len(labels_N))
