"""Classification metrics and their bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sctransformer.evaluation.bootstrap import RESAMPLES
from sctransformer.evaluation.metrics import classification_metrics, resampled_macro_f1


def test_metrics_of_a_known_confusion_matrix() -> None:
    labels_N, predicted_N = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    metrics = classification_metrics(labels_N, predicted_N, ["a", "b", "c"], seed=0)
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["per_class"]["a"]["recall"] == pytest.approx(2 / 3)
    assert metrics["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "cells": 1}
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 0.0) / 3)
    assert metrics["predicted_classes"] == 2
    low, high = metrics["macro_f1_ci"]
    assert low <= metrics["macro_f1"] <= high


@given(st.integers(0, 2**16))
def test_resampled_macro_f1_equals_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([np.arange(4), rng.integers(0, 4, 20)])
    predicted_N = np.where(rng.random(24) < 0.6, labels_N, rng.integers(0, 5, 24))
    found_T = resampled_macro_f1(labels_N, predicted_N, 5, seed)
    replay = np.random.default_rng(seed)
    counts_TN = np.zeros((RESAMPLES, 24), dtype=int)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        counts_TN[:, rows] = replay.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    for resample in range(3):
        rows = np.repeat(np.arange(24), counts_TN[resample])
        assert np.bincount(labels_N[rows]).tolist() == np.bincount(labels_N).tolist()
        expected = f1_score(labels_N[rows], predicted_N[rows], average="macro", zero_division=0.0)
        assert found_T[resample] == pytest.approx(expected, abs=1e-6)


def test_models_are_resampled_alike_on_the_same_cells() -> None:
    labels_N = np.arange(60) % 3
    wrong_N = np.where(np.arange(60) < 6, (labels_N + 1) % 3, labels_N)
    assert (resampled_macro_f1(labels_N, labels_N, 3, 0) == 1.0).all()
    assert np.array_equal(resampled_macro_f1(labels_N, wrong_N, 3, 7), resampled_macro_f1(labels_N, wrong_N, 3, 7))
    assert np.std(resampled_macro_f1(labels_N, wrong_N, 3, 7)) > 0
