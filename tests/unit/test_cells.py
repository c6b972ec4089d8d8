"""A file is read as it is, in chunks, or refused with one sentence."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer.data.cells import CellFile, read_cells
from sctransformer.errors import UserError

LAYOUTS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda matrix: matrix.toarray()}


def read_all(path: Path, rows: int = 16) -> np.ndarray:
    with CellFile(path) as file:
        return np.concatenate([chunk.toarray() for _, chunk in file.chunks(rows)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_and_type_reads_the_same(cells: AnnData, tmp_path: Path, layout: str, dtype: type) -> None:
    expected = cells.X.toarray()
    cells.X = LAYOUTS[layout](cells.X.astype(dtype))
    cells.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad"), expected)


@pytest.mark.parametrize("rows", [1, 7, 90, 1000])
def test_chunks_say_where_they_start(cells: AnnData, tmp_path: Path, rows: int) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with CellFile(tmp_path / "cells.h5ad") as file:
        starts = [start for start, _ in file.chunks(rows)]
        assert file.n_cells == 90
    assert starts == list(range(0, 90, rows))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(cells: AnnData, tmp_path: Path, share: float, layout: str) -> None:
    cells.X = LAYOUTS[layout](cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    content = (tmp_path / "cells.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut\.h5ad: is not a readable h5ad file"):
        read_all(tmp_path / "cut.h5ad")


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("column", [-1, 10**6])
def test_indices_outside_the_matrix_are_damage_and_no_crash(
    cells: AnnData, tmp_path: Path, layout: str, column: int
) -> None:
    cells.X = LAYOUTS[layout](cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        file["X/indices"][400] = column
    with pytest.raises(UserError, match=r"X cannot be read.*damaged"):
        read_all(tmp_path / "cells.h5ad")


def test_a_damaged_compressed_block_is_refused(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    with h5py.File(tmp_path / "cells.h5ad") as file:
        place = file["X/data"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "cells.h5ad").read_bytes())
    content[place : place + 40] = bytes(40)
    (tmp_path / "cells.h5ad").write_bytes(content)
    with pytest.raises(UserError, match=r"X cannot be read at cell 0; the file is damaged"):
        read_all(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("member", ["X", "obs", "var"])
def test_a_file_without_a_member_says_which(cells: AnnData, tmp_path: Path, member: str) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file[member]
    with pytest.raises(UserError, match=f"has no '?{member}"):
        CellFile(tmp_path / "cells.h5ad")


def test_a_matrix_of_another_shape_is_refused(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        file["X"].attrs["shape"] = (89, 24)
    with pytest.raises(UserError, match=r"X has shape \(89, 24\), but obs and var say \(90, 24\)"):
        CellFile(tmp_path / "cells.h5ad")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "neither a number nor zero"),
        (np.inf, "neither a number nor zero"),
        (-1.0, "negative"),
        (0.5, "log-normalised"),
        (512.25, "looks normalised"),
    ],
)
def test_what_is_no_count_is_named_with_cell_and_gene(cells: AnnData, tmp_path: Path, value: float, words: str) -> None:
    counts = cells.X.toarray()
    counts[41, 5] = value
    cells.X = sparse.csr_matrix(counts)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=f"cell 'cell41', gene 'GENE5' is .*{words}"):
        read_all(tmp_path / "cells.h5ad")


@pytest.mark.parametrize(("axis", "what"), [("obs", "cells"), ("var", "genes")])
def test_reading_for_training_needs_unique_names(cells: AnnData, tmp_path: Path, axis: str, what: str) -> None:
    names = getattr(cells, axis).index.tolist()
    table = pd.DataFrame(index=[names[0], *names[:-1]])
    other = AnnData(cells.X, **{axis: table})
    other.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=f"names of {what} must be unique, but '{names[0]}'"):
        read_cells(tmp_path / "cells.h5ad")
