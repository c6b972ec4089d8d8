"""Metrics of donors and intervals of recall."""

import numpy as np
import pytest

from sctransformer.evaluation.donors import metrics_by_donor, wilson_interval, with_recall_intervals


def test_metrics_of_each_donor() -> None:
    labels, predicted = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1])
    metrics = metrics_by_donor(labels, predicted, ["x", "x", "y", "y"])
    assert metrics["x"]["accuracy"] == 1.0
    assert metrics["y"] == {
        "cells": 2, "accuracy": 0.5, "accuracy_ci": wilson_interval(1, 2), "macro_f1": pytest.approx(1 / 3),
    }  # fmt: skip


def test_recall_has_a_wilson_interval() -> None:
    low, high = wilson_interval(80, 100)
    assert (low, high) == (pytest.approx(0.711, abs=1e-3), pytest.approx(0.867, abs=1e-3))
    per_class = with_recall_intervals({"a": {"recall": 0.8, "cells": 100}, "b": {"recall": 0.0, "cells": 0}})
    assert per_class["a"]["recall_ci"] == [low, high]
    assert per_class["b"]["recall_ci"] is None
