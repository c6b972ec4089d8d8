"""Accuracy and macro-F1 in numpy, for the trainer; evaluation uses scikit-learn."""

import numpy as np
from numpy.typing import NDArray


def f1_by_class(labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """F1 per class; NaN for a class that is neither among the labels nor predicted."""
    correct_C = np.bincount(labels_N[labels_N == predicted_N], minlength=n_classes)
    total_C = np.bincount(labels_N, minlength=n_classes) + np.bincount(predicted_N, minlength=n_classes)
    return np.where(total_C > 0, 2 * correct_C / np.maximum(total_C, 1), np.nan)


def accuracy_and_macro_f1(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int
) -> tuple[float, float]:
    """Accuracy, and the mean F1 over the classes that occur among labels or predictions."""
    f1_C = f1_by_class(labels_N, predicted_N, n_classes)
    return float((labels_N == predicted_N).mean()), float(np.nanmean(f1_C))
