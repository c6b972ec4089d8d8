"""Classification metrics on test cells, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

BOOTSTRAPS = 1000


def classification_metrics(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Figures of predicted labels.

    Args:
        labels_N, predicted_N: class indices.
        names: class names.
        seed: of the bootstrap.

    Returns:
        cells; accuracy; macro_f1 (unweighted mean over the classes that occur); macro_f1_ci (95% interval, bootstrap
        over cells within classes); predicted_classes (how many classes are ever predicted); per_class with precision,
        recall, f1 and cells of each.
    """
    precision_C, recall_C, f1_C, cells_C = precision_recall_fscore_support(
        labels_N, predicted_N, labels=range(len(names)), zero_division=0.0
    )
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
    resampled = [
        _macro_f1(labels_N[rows], predicted_N[rows])
        for rows in (np.concatenate([rng.choice(rows, size=len(rows)) for rows in members]) for _ in range(BOOTSTRAPS))
    ]
    return {
        "cells": len(labels_N),
        "accuracy": float(accuracy_score(labels_N, predicted_N)),
        "macro_f1": _macro_f1(labels_N, predicted_N),
        "macro_f1_ci": [float(bound) for bound in np.quantile(resampled, [0.025, 0.975])],
        "predicted_classes": len(np.unique(predicted_N)),
        "per_class": {
            name: {
                "precision": float(precision_C[index]),
                "recall": float(recall_C[index]),
                "f1": float(f1_C[index]),
                "cells": int(cells_C[index]),
            }
            for index, name in enumerate(names)
        },
    }


def _macro_f1(labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64]) -> float:
    return float(f1_score(labels_N, predicted_N, average="macro", zero_division=0.0))
