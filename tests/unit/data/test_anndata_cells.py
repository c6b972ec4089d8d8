"""An AnnData object is read like the file it is written to, with the same errors."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.data.cells import CellFile, Cells
from sctransformer.errors import UserError
from tests.conftest import simulated_cells


def raw_only(cells: AnnData) -> AnnData:
    cells.raw = cells.copy()
    cells.X = np.log1p(cells.X)
    return cells


def layer_only(cells: AnnData) -> AnnData:
    cells.layers["counts"] = cells.X.copy()
    cells.X = np.log1p(cells.X)
    return cells


def layout(convert: Callable[[sparse.csr_matrix], object]) -> Callable[[AnnData], AnnData]:
    def change(cells: AnnData) -> AnnData:
        cells.X = convert(cells.X)
        return cells

    return change


FORMS = {
    "csr": layout(lambda matrix: matrix),
    "csr array": layout(sparse.csr_array),
    "csc": layout(lambda matrix: matrix.tocsc()),
    "dense": layout(lambda matrix: matrix.toarray()),
    "int64": layout(lambda matrix: matrix.astype(np.int64)),
    "noise": layout(lambda matrix: (matrix * (1 + 1e-5)).tocsr()),
    "raw.X": raw_only,
    "layer": layer_only,
    "view": lambda cells: cells[::2],
}


def content(cells: Cells) -> list[np.ndarray]:
    return [chunk.toarray() for _, chunk in cells.chunks(25)]


@pytest.mark.parametrize("form", FORMS)
def test_an_object_gives_the_counts_of_its_file_and_is_not_changed(form: str, cells: AnnData, tmp_path: Path) -> None:
    adata = FORMS[form](cells)
    before = adata.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with CellFile(tmp_path / "cells.h5ad") as file:
        for found in (AnnDataCells(adata), AnnDataCells(backed)):
            assert found.counts_in == file.counts_in
            assert found.n_cells == len(adata)
            for name in ("obs", "var"):
                pd.testing.assert_frame_equal(getattr(found, name), getattr(file, name), check_column_type=False)
            for left, right in zip(content(found), content(file), strict=True):
                np.testing.assert_array_equal(left, right)
                assert left.dtype == right.dtype
    assert adata.is_view == (form == "view")
    assert (sparse.csr_matrix(adata.X) != sparse.csr_matrix(before.X)).nnz == 0


@pytest.mark.parametrize(
    ("spoil", "counts", "words"),
    [
        (lambda cells: layout(lambda matrix: np.log1p(matrix / 7))(cells), None, "adata: X: expected raw counts, but"),
        (lambda cells: cells, "umis", r"adata: has no counts in 'umis' \(available: X\); choose one"),
        (lambda cells: AnnData(obs=cells.obs), None, "adata: has no X, raw.X or layer"),
    ],
)
def test_values_that_are_not_counts_are_refused(
    cells: AnnData, spoil: Callable[[AnnData], AnnData], counts: str | None, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        content(AnnDataCells(spoil(cells), counts))


def test_the_gene_table_with_the_higher_rating_is_read() -> None:
    whole = simulated_cells()
    adata = whole[:, :12].copy()
    adata.raw = whole
    assert AnnDataCells(adata).counts_in == "X"
    found = AnnDataCells(adata, rate_genes=len)
    assert (found.counts_in, len(found.genes)) == ("raw.X", 24)


@pytest.mark.parametrize("table", ["obs", "var"])
def test_column_names_that_occur_twice_are_refused(cells: AnnData, table: str) -> None:
    columns = pd.DataFrame(np.zeros((len(getattr(cells, table)), 2)), getattr(cells, table).index, ["size", "size"])
    setattr(cells, table, columns)
    with pytest.raises(UserError, match=f"adata: {table} has more than one column 'size'; rename or drop one"):
        AnnDataCells(cells)
