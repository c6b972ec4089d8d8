"""Plots are written as PNG files, the same bytes each time."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer.evaluation.plots import plot_confusion_matrix


@pytest.mark.parametrize("n_classes", [1, 10])
def test_a_confusion_matrix_is_plotted_reproducibly(tmp_path: Path, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels_N, predicted_N = rng.integers(0, n_classes, (2, 200))
    for name in ("one.png", "two.png"):
        plot_confusion_matrix(labels_N, predicted_N, [f"type {index}" for index in range(n_classes)], tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")
