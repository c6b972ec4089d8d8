"""Figures of each donor, and intervals of the recall of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

LEVEL = 0.95


def by_donor(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], donors_N: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Cells, accuracy with its interval (Wilson's) and macro-F1 of each donor, by name."""
    donors = np.asarray([str(donor) for donor in donors_N], dtype=object)
    figures: dict[str, dict[str, Any]] = {}
    for name in sorted(set(donors.tolist())):
        truth, said = labels_N[donors == name], predicted_N[donors == name]
        figures[name] = {
            "cells": len(truth),
            "accuracy": float(accuracy_score(truth, said)),
            "accuracy_ci": share_interval(int((truth == said).sum()), len(truth)),
            "macro_f1": float(f1_score(truth, said, average="macro", zero_division=0.0)),
        }
    return figures


def with_recall_intervals(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of each class with the interval of its recall; None where a class has no cell."""
    return {
        name: {
            **figures,
            "recall_ci": share_interval(round(figures["recall"] * figures["cells"]), figures["cells"])
            if figures["cells"]
            else None,
        }
        for name, figures in per_class.items()
    }


def share_interval(right: int, cells: int) -> list[float]:
    """Wilson's 95 % interval of a share: Wilson 1927, doi:10.1080/01621459.1927.10502953."""
    interval = binomtest(right, cells).proportion_ci(LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]
