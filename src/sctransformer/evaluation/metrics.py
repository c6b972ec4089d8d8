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
    resampled_B = resampled_macro_f1(labels_N, predicted_N, len(names), seed)
    return {
        "cells": len(labels_N),
        "accuracy": float(accuracy_score(labels_N, predicted_N)),
        "macro_f1": _macro_f1(labels_N, predicted_N),
        "macro_f1_ci": [float(bound) for bound in np.quantile(resampled_B, [0.025, 0.975])],
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


def resampled_macro_f1(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int, seed: int
) -> NDArray[np.float64]:
    """Macro-F1 of test cells drawn again with replacement, as many of each type as there are.

    Equal labels and seeds give the same draws, so the figures of two models on the same cells are paired.

    Returns:
        One figure for each of BOOTSTRAPS draws.
    """
    rng = np.random.default_rng(seed)
    times_BN = np.zeros((BOOTSTRAPS, len(labels_N)), dtype=np.float32)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        times_BN[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=BOOTSTRAPS)
    classes_C = np.arange(n_classes)
    said_NC = (predicted_N[:, None] == classes_C).astype(np.float32)
    true_NC = (labels_N[:, None] == classes_C).astype(np.float32)
    right_BC, involved_BC = times_BN @ (said_NC * true_NC), times_BN @ (said_NC + true_NC)
    f1_BC = 2.0 * right_BC / np.maximum(involved_BC, 1.0)
    return np.asarray(f1_BC.sum(axis=1) / (involved_BC > 0).sum(axis=1), dtype=np.float64)


def _macro_f1(labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64]) -> float:
    return float(f1_score(labels_N, predicted_N, average="macro", zero_division=0.0))
