"""Accuracy and macro-F1 of the training loop."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from sctransformer.training.scores import accuracy_and_macro_f1


def test_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels_N, predicted_N = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
        accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, predicted_N, 6)
        assert accuracy == pytest.approx(accuracy_score(labels_N, predicted_N))
        assert macro_f1 == pytest.approx(f1_score(labels_N, predicted_N, average="macro"))
