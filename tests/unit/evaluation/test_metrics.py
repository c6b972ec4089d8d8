"""Metrics, calibration, rejection and the baseline."""

import numpy as np
import pytest
from scipy.special import softmax

from sctransformer.evaluation import calibration
from sctransformer.evaluation.baselines import logistic_regression
from sctransformer.evaluation.metrics import classification_metrics
from tests.conftest import arrays, simulated_cells


def test_metrics_of_a_known_confusion() -> None:
    labels_N, predicted_N = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    figures = classification_metrics(labels_N, predicted_N, ["a", "b", "c"], seed=0)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["per_class"]["a"]["recall"] == pytest.approx(2 / 3)
    assert figures["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "cells": 1}
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 0.0) / 3)
    assert figures["predicted_classes"] == 2
    low, high = figures["macro_f1_ci"]
    assert low <= figures["macro_f1"] <= high


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    true_NC = rng.normal(size=(20_000, 4))
    labels_N = (softmax(true_NC, axis=1).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    temperature = calibration.fit_temperature(true_NC * 3.0, labels_N)
    assert temperature == pytest.approx(3.0, rel=0.05)
    before = calibration.expected_calibration_error(calibration.probabilities(true_NC * 3.0, 1.0), labels_N)
    after = calibration.expected_calibration_error(calibration.probabilities(true_NC * 3.0, temperature), labels_N)
    assert after < 0.02 < before


def test_rejection_keeps_the_error_of_accepted_cells() -> None:
    rng = np.random.default_rng(1)
    confidence_N = rng.uniform(0.5, 1.0, 2000)
    right_N = rng.random(2000) < confidence_N
    probabilities_NC = np.column_stack([confidence_N, 1 - confidence_N])
    labels_N = np.where(right_N, 0, 1)
    threshold = calibration.rejection_threshold(probabilities_NC, labels_N, error=0.1)
    accepted = confidence_N >= threshold
    assert 0.3 < accepted.mean() < 1.0
    assert (~right_N[accepted]).mean() <= 0.1


def test_when_every_label_is_wrong_nothing_is_accepted() -> None:
    assert calibration.rejection_threshold(np.array([[0.9, 0.1]]), np.array([1]), error=0.05) == 1.0


def test_logistic_regression_labels_easy_cells() -> None:
    labels_N, chosen = logistic_regression(arrays(simulated_cells()), arrays(simulated_cells(seed=1)), 3, seed=0)
    assert (labels_N == arrays(simulated_cells(seed=1)).labels_N).mean() > 0.95
    assert chosen["folds"] == 3


def test_the_risk_coverage_curve_says_what_each_threshold_costs() -> None:
    rng = np.random.default_rng(1)
    labels_N = rng.integers(0, 3, 500)
    probabilities_NC = calibration.probabilities(np.eye(3)[labels_N] + rng.normal(size=(500, 3)), 1.0)
    curve = calibration.risk_coverage(probabilities_NC, labels_N, points=20)
    assert len(curve) == 20
    assert curve[-1]["coverage"] == 1.0
    confidence_N, right_N = probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == labels_N
    for point in curve:
        held_N = confidence_N >= point["threshold"]
        assert point["coverage"] == pytest.approx(held_N.mean(), abs=1e-6)
        np.testing.assert_allclose(point["risk"], 1 - right_N[held_N].mean(), atol=1e-6)


def test_the_least_confident_are_withheld_even_where_all_are_right() -> None:
    confidence_N = np.linspace(0.6, 1.0, 100)
    probabilities_NC = np.stack([confidence_N, 1 - confidence_N], axis=1)
    labels_N = np.zeros(100, dtype=np.int64)
    assert calibration.rejection_threshold(probabilities_NC, labels_N, error=0.05) == confidence_N[0]
    threshold = calibration.rejection_threshold(probabilities_NC, labels_N, error=0.05, withheld=0.1)
    assert 0.09 <= (confidence_N < threshold).mean() <= 0.1
