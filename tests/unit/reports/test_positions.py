"""Positions of cells on the map."""

import subprocess
import sys

import numpy as np
import pytest

from sctransformer.reports.positions import positions_of, sampled_rows


@pytest.mark.parametrize(
    ("n_cells", "words"), [(1, "principal components"), (39, "principal components"), (60, "t-SNE")]
)
def test_every_cell_has_a_position(n_cells: int, words: str) -> None:
    embedding_NE = np.random.default_rng(0).normal(size=(n_cells, 8))
    position_N2, described = positions_of(embedding_NE, "obsm")
    assert position_N2.shape == (n_cells, 2)
    assert np.isfinite(position_N2).all()
    assert words in described


def test_two_groups_of_cells_are_apart() -> None:
    embedding_NE = np.random.default_rng(0).normal(size=(80, 8))
    embedding_NE[:40] += 20.0
    position_N2, _ = positions_of(embedding_NE, "obsm")
    first, second = position_N2[:40], position_N2[40:]
    assert np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) > first.std() + second.std()


def test_few_cells_do_not_wait_for_umap_learn() -> None:
    code = (
        "import sys, numpy as np; from sctransformer.reports.positions import positions_of; "
        "positions_of(np.random.rand(60, 4), 'x'); assert 'umap' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_many_cells_a_sample_is_shown() -> None:
    rows_N = sampled_rows(1000, 50)
    assert len(np.unique(rows_N)) == 50
    assert (np.diff(rows_N) > 0).all()
