"""Temperature, rejection threshold, risk-coverage curve."""

import numpy as np
import pytest
from scipy.special import softmax

from sctransformer.evaluation import calibration


def test_the_temperature_corrects_overconfident_logits() -> None:
    rng = np.random.default_rng(0)
    true_NC = rng.normal(size=(20_000, 4))
    labels_N = (softmax(true_NC, axis=1).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    temperature = calibration.fit_temperature(true_NC * 3.0, labels_N)
    assert temperature == pytest.approx(3.0, rel=0.05)
    before = calibration.expected_calibration_error(calibration.probabilities(true_NC * 3.0, 1.0), labels_N)
    after = calibration.expected_calibration_error(calibration.probabilities(true_NC * 3.0, temperature), labels_N)
    assert after < 0.02 < before


def test_the_threshold_limits_the_error_of_accepted_cells() -> None:
    rng = np.random.default_rng(1)
    confidence_N = rng.uniform(0.5, 1.0, 2000)
    correct_N = rng.random(2000) < confidence_N
    probabilities_NC = np.column_stack([confidence_N, 1 - confidence_N])
    labels_N = np.where(correct_N, 0, 1)
    threshold = calibration.rejection_threshold(probabilities_NC, labels_N, error=0.1)
    accepted = confidence_N >= threshold
    assert 0.3 < accepted.mean() < 1.0
    assert (~correct_N[accepted]).mean() <= 0.1


def test_no_cell_is_accepted_if_every_label_is_wrong() -> None:
    assert calibration.rejection_threshold(np.array([[0.9, 0.1]]), np.array([1]), error=0.05) == 1.0


def test_the_least_confident_cells_are_rejected_even_if_all_are_right() -> None:
    confidence_N = np.linspace(0.6, 1.0, 100)
    probabilities_NC = np.stack([confidence_N, 1 - confidence_N], axis=1)
    labels_N = np.zeros(100, dtype=np.int64)
    assert calibration.rejection_threshold(probabilities_NC, labels_N, error=0.05) == confidence_N[0]
    threshold = calibration.rejection_threshold(probabilities_NC, labels_N, error=0.05, withheld=0.1)
    assert 0.09 <= (confidence_N < threshold).mean() <= 0.1


def test_the_risk_coverage_curve_has_the_coverage_and_error_of_each_threshold() -> None:
    rng = np.random.default_rng(1)
    labels_N = rng.integers(0, 3, 500)
    probabilities_NC = calibration.probabilities(np.eye(3)[labels_N] + rng.normal(size=(500, 3)), 1.0)
    curve = calibration.risk_coverage(probabilities_NC, labels_N, points=20)
    assert len(curve) == 20
    assert curve[-1]["coverage"] == 1.0
    confidence_N, correct_N = probabilities_NC.max(axis=1), probabilities_NC.argmax(axis=1) == labels_N
    for point in curve:
        accepted_N = confidence_N >= point["threshold"]
        assert point["coverage"] == pytest.approx(accepted_N.mean(), abs=1e-6)
        np.testing.assert_allclose(point["risk"], 1 - correct_N[accepted_N].mean(), atol=1e-6)
