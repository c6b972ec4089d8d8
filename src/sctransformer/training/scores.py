"""Accuracy and macro-F1 in numpy, for the loop alone; evaluation uses scikit-learn."""

import numpy as np
from numpy.typing import NDArray


def accuracy_and_macro_f1(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], n_classes: int
) -> tuple[float, float]:
    """Share of right labels, and the unweighted mean of F1 over the classes that occur in labels or predictions."""
    confusion_CC = np.bincount(labels_N * n_classes + predicted_N, minlength=n_classes**2).reshape(n_classes, n_classes)
    right_C = np.diag(confusion_CC)
    involved_C = confusion_CC.sum(axis=0) + confusion_CC.sum(axis=1)
    f1_C = 2 * right_C[involved_C > 0] / involved_C[involved_C > 0]
    return float(right_C.sum() / len(labels_N)), float(f1_C.mean())
