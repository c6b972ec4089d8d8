"""Files written in chunks are read as one matrix, with which scipy and anndata work."""

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

from sctransformer.data.h5ad_writer import open_h5ad_writer
from tests.conftest import GENES, simulated_cells


@pytest.fixture
def written(tmp_path: Path) -> Path:
    cells, path = simulated_cells(90), tmp_path / "cells.h5ad"
    with open_h5ad_writer(path, GENES) as writer:
        for start in range(0, 90, 40):
            writer.append(cells.X[start : start + 40])
        writer.finish(cells.obs)
    return path


def test_rows_are_those_that_were_appended(written: Path) -> None:
    found, cells = anndata.read_h5ad(written), simulated_cells(90)
    np.testing.assert_array_equal(found.X.toarray(), cells.X.toarray())
    assert found.obs_names.equals(cells.obs_names)
    assert found.obs["cell_type"].tolist() == cells.obs["cell_type"].tolist()


def test_rows_can_be_reversed(written: Path) -> None:
    """Scipy needs row starts and column indices of one type for a negative step."""
    expected = simulated_cells(90).X.toarray()[::-1]
    in_memory = anndata.read_h5ad(written)
    assert in_memory.X.indptr.dtype == in_memory.X.indices.dtype
    np.testing.assert_array_equal(in_memory[::-1].to_memory().X.toarray(), expected)


def test_no_cells_and_rows_without_counts(tmp_path: Path) -> None:
    for rows in (0, 3):
        path = tmp_path / f"{rows}.h5ad"
        cells = simulated_cells(90)[:rows]
        with open_h5ad_writer(path, GENES) as writer:
            writer.append(sparse.csr_matrix((rows, len(GENES)), dtype=np.float32))
            writer.finish(cells.obs)
        assert anndata.read_h5ad(path).X.nnz == 0
