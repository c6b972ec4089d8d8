"""Which cells get no label: one rule for files and for the served model."""

import numpy as np
from numpy.typing import NDArray


def rejected(confidence_N: NDArray[np.floating], counted_N: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    """Cells under the threshold, and cells without a count in any gene of the vocabulary, however confident.

    Args:
        confidence_N: calibrated probability of the most likely class; NaN is under any threshold.
        counted_N: whether any gene of the vocabulary has a count.
        threshold: see `Bundle.calibration`.
    """
    return ~counted_N | ~(confidence_N >= threshold)
