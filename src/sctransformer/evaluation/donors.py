"""Metrics of each donor, and confidence intervals of the recall of each cell type."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from sctransformer.evaluation.bootstrap import LEVEL
from sctransformer.evaluation.metrics import macro_f1


def metrics_by_donor(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], donors_N: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Cells, accuracy with its Wilson interval, and macro-F1 of each donor, by name."""
    donors = np.asarray([str(donor) for donor in donors_N], dtype=object)
    metrics: dict[str, dict[str, Any]] = {}
    for name in sorted(set(donors.tolist())):
        truth, predicted = labels_N[donors == name], predicted_N[donors == name]
        metrics[name] = {
            "cells": len(truth),
            "accuracy": float(accuracy_score(truth, predicted)),
            "accuracy_ci": wilson_interval(int((truth == predicted).sum()), len(truth)),
            "macro_f1": macro_f1(truth, predicted),
        }
    return metrics


def with_recall_intervals(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The metrics of each class with the interval of its recall added; None for a class without cells."""
    return {
        name: {
            **metrics,
            "recall_ci": wilson_interval(round(metrics["recall"] * metrics["cells"]), metrics["cells"])
            if metrics["cells"]
            else None,
        }
        for name, metrics in per_class.items()
    }


def wilson_interval(successes: int, trials: int) -> list[float]:
    """Wilson's score interval of a proportion at LEVEL: Wilson 1927, doi:10.1080/01621459.1927.10502953."""
    interval = binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]
