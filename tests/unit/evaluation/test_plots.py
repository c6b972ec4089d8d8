"""Plots are written as PNG files, the same bytes each time."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer.evaluation import plots
from sctransformer.evaluation.plots import plot_confusion_matrix, plot_embedding


@pytest.mark.parametrize("n_classes", [1, 10])
def test_a_confusion_matrix_is_plotted_reproducibly(tmp_path: Path, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels_N, predicted_N = rng.integers(0, n_classes, (2, 200))
    for name in ("one.png", "two.png"):
        plot_confusion_matrix(labels_N, predicted_N, [f"type {index}" for index in range(n_classes)], tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")


@pytest.mark.parametrize("n_cells", [1, 2, 4, 40, 60])
def test_an_embedding_is_plotted_reproducibly(tmp_path: Path, n_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few cells, and more cells than are shown, too."""
    monkeypatch.setattr(plots, "MAX_CELLS", 50)
    embedding_NE = np.random.default_rng(0).normal(size=(n_cells, 5))
    labels = [f"type {index % 3}" for index in range(n_cells)]
    for name in ("one.png", "two.png"):
        plot_embedding(embedding_NE, labels, seed=0, target=tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")
