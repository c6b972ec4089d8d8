"""Shared by all bootstrap intervals: the number of resamples, the confidence level, macro-F1 of resampled cells."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
"""Level of all confidence intervals."""


def percentile_interval(values_T: NDArray[np.floating]) -> tuple[float, float]:
    """Percentile bootstrap interval at LEVEL."""
    low, high = np.quantile(values_T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def weighted_macro_f1(
    weights: NDArray[np.floating], truth: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Macro-F1 of each resample: the unweighted mean over the classes that are true or predicted, as in scikit-learn.

    Args:
        weights: resamples x rows, how often a resample holds each row. A row is a cell, or a group of cells with the
            same true and predicted label. The computation has the precision of this array.
        truth, predicted: class index of each row.
        n_classes: number of classes.
    """
    classes_C = np.arange(n_classes)
    is_true = (truth[:, None] == classes_C).astype(weights.dtype)
    is_predicted = (predicted[:, None] == classes_C).astype(weights.dtype)
    correct_TC = weights @ (is_true * is_predicted)
    involved_TC = weights @ (is_true + is_predicted)
    f1_TC = 2.0 * correct_TC / np.maximum(involved_TC, 1.0)
    return np.asarray(f1_TC.sum(axis=1) / np.maximum((involved_TC > 0).sum(axis=1), 1), dtype=np.float64)
