"""Accuracy and macro-F1 in numpy, for the loop alone; evaluation uses scikit-learn."""

import numpy as np
from numpy.typing import NDArray


def f1_by_class(labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """F1 of each class; NaN for one that occurs neither in labels nor in predictions."""
    right_C = np.bincount(labels_N[labels_N == predicted_N], minlength=n_classes)
    involved_C = np.bincount(labels_N, minlength=n_classes) + np.bincount(predicted_N, minlength=n_classes)
    return np.where(involved_C > 0, 2 * right_C / np.maximum(involved_C, 1), np.nan)


def accuracy_and_macro_f1(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int
) -> tuple[float, float]:
    """Share of right labels, and the unweighted mean of F1 over the classes that occur in labels or predictions."""
    f1_C = f1_by_class(labels_N, predicted_N, n_classes)
    return float((labels_N == predicted_N).mean()), float(np.nanmean(f1_C))
