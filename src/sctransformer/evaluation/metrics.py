"""Classification metrics on test cells, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from sctransformer.evaluation.bootstrap import RESAMPLES, percentile_interval, weighted_macro_f1


def classification_metrics(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Metrics of predicted labels.

    Args:
        labels_N, predicted_N: class indices.
        names: class names.
        seed: seed of the bootstrap.

    Returns:
        cells; accuracy; macro_f1 (unweighted mean over the classes that occur); macro_f1_ci (95 % interval, bootstrap
        over cells within classes); predicted_classes (number of classes that are predicted at least once); per_class
        with precision, recall, f1 and cells of each class.
    """
    precision_C, recall_C, f1_C, cells_C = precision_recall_fscore_support(
        labels_N, predicted_N, labels=range(len(names)), zero_division=0.0
    )
    resampled_T = resampled_macro_f1(labels_N, predicted_N, len(names), seed)
    return {
        "cells": len(labels_N),
        "accuracy": float(accuracy_score(labels_N, predicted_N)),
        "macro_f1": macro_f1(labels_N, predicted_N),
        "macro_f1_ci": list(percentile_interval(resampled_T)),
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
    """Macro-F1 of bootstrap resamples of the test cells, stratified by cell type.

    The resamples depend on labels and seed alone, so the scores of two models on the same cells are paired.

    Returns:
        One score for each of RESAMPLES resamples.
    """
    rng = np.random.default_rng(seed)
    counts_TN = np.zeros((RESAMPLES, len(labels_N)), dtype=np.float32)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        counts_TN[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
    return weighted_macro_f1(counts_TN, labels_N, predicted_N, n_classes)


def macro_f1(labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64]) -> float:
    """Unweighted mean of F1 over the classes that are true or predicted."""
    return float(f1_score(labels_N, predicted_N, average="macro", zero_division=0.0))
