"""Files of cells are read in chunks, or refused with an error in one sentence."""

import fcntl
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from anndata.io import read_elem, write_elem
from scipy import sparse

from sctransformer.data import matrix, obs_table
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.errors import BusyError, UserError

LAYOUTS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda matrix: matrix.toarray()}


def read_all(path: Path, rows: int = 16) -> np.ndarray:
    with CellFile(path) as file:
        return np.concatenate([chunk.toarray() for _, chunk in file.chunks(rows)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_and_data_types_give_the_same_counts(
    cells: AnnData, tmp_path: Path, layout: str, dtype: type
) -> None:
    expected = cells.X.toarray()
    cells.X = LAYOUTS[layout](cells.X.astype(dtype))
    cells.write_h5ad(tmp_path / "cells.h5ad", compression="gzip")
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad"), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr_gives_the_same_counts(cells: AnnData, tmp_path: Path, layout: str) -> None:
    expected = cells.X.toarray()
    cells.X = LAYOUTS[layout](cells.X)
    cells.write_zarr(tmp_path / "cells.zarr")
    np.testing.assert_array_equal(read_all(tmp_path / "cells.zarr"), expected)


@pytest.mark.parametrize("rows", [1, 13, 90])
def test_a_large_csc_matrix_is_converted_through_files(
    cells: AnnData, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "IN_MEMORY_VALUES", 100)
    expected = cells.X.toarray()
    cells.X = sparse.csc_matrix(cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad", rows), expected)


def test_a_large_dense_matrix_is_read_in_blocks(
    cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "DENSE_BLOCK", 100)
    expected = cells.X.toarray()
    cells.X = expected
    cells.write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad", 7), expected)


def logged(cells: AnnData) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.log1p(cells.X.toarray()))


def test_counts_are_found_in_a_layer(cells: AnnData, tmp_path: Path) -> None:
    expected = cells.X.toarray()
    cells.layers["spliced"], cells.layers["counts"], cells.X = logged(cells), cells.X, logged(cells)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with CellFile(tmp_path / "cells.h5ad") as file:
        assert file.counts_in == "counts"
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad"), expected)


def test_counts_are_found_in_raw_with_its_own_genes(cells: AnnData, tmp_path: Path) -> None:
    whole = cells.copy()
    cells = cells[:, :10].copy()
    cells.raw, cells.X = whole, sparse.csr_matrix(np.log1p(cells.X.toarray()))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with CellFile(tmp_path / "cells.h5ad") as file:
        assert file.counts_in == "raw.X"
        assert file.genes.tolist() == whole.var_names.tolist()
    np.testing.assert_array_equal(read_all(tmp_path / "cells.h5ad"), whole.X.toarray())


def test_only_the_requested_counts_are_used(cells: AnnData, tmp_path: Path) -> None:
    cells.layers["logged"] = logged(cells)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with (
        CellFile(tmp_path / "cells.h5ad", counts="logged") as file,
        pytest.raises(UserError, match=r"layer 'logged': expected raw counts, but cell .* it looks log-normalised"),
    ):
        next(file.chunks(90))
    with pytest.raises(UserError, match=r"has no counts in 'umi' \(available: X, logged\)"):
        CellFile(tmp_path / "cells.h5ad", counts="umi")


def test_without_counts_the_error_says_what_each_matrix_holds(cells: AnnData, tmp_path: Path) -> None:
    cells.layers["scaled"] = cells.X.toarray() - 1.0
    cells.X = logged(cells)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    held = r"X \(not an integer: it looks log-normalised\), layer 'scaled' \(negative: it looks scaled\); give the file"
    with pytest.raises(UserError, match=f"none holds them for certain: {held}"):
        CellFile(tmp_path / "cells.h5ad")


def test_a_matrix_of_text_is_refused(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        values = file["X/data"][:].astype("S8")
        del file["X/data"]
        file["X/data"] = values
    with pytest.raises(UserError, match="X is not a matrix of counts: its values are not numbers"):
        CellFile(tmp_path / "cells.h5ad")


def test_a_folder_that_is_not_zarr_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, but not a readable zarr group"):
        CellFile(tmp_path)


@pytest.mark.parametrize("rows", [1, 7, 90, 1000])
def test_chunks_have_the_position_of_their_first_cell(cells: AnnData, tmp_path: Path, rows: int) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with CellFile(tmp_path / "cells.h5ad") as file:
        starts = [start for start, _ in file.chunks(rows)]
        assert file.n_cells == 90
    assert starts == list(range(0, 90, rows))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(cells: AnnData, tmp_path: Path, share: float, layout: str) -> None:
    cells.X = LAYOUTS[layout](cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    content = (tmp_path / "cells.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"cut\.h5ad: is not a readable h5ad file"):
        read_all(tmp_path / "cut.h5ad")


def test_a_file_that_is_being_written_is_reported_as_busy(cells: AnnData, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 does in the writing process
        with pytest.raises(BusyError, match=r"cells\.h5ad: another process is writing it now; try again"):
            CellFile(path)
    CellFile(path).close()


def test_the_error_for_an_old_anndata_file_says_how_to_rewrite_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = np.ones((2, 1), dtype=np.float32)
        file["obs"] = np.array([(b"a", 1.0), (b"b", 2.0)], dtype=[("index", "S1"), ("size", "f4")])
        file["var"] = np.array([(b"g",)], dtype=[("index", "S1")])
    with pytest.raises(UserError, match=r"obs has the format of anndata before 0\.7; rewrite the file: `anndata\."):
        CellFile(tmp_path / "old.h5ad")
    anndata.read_h5ad(tmp_path / "old.h5ad").write_h5ad(tmp_path / "new.h5ad")
    np.testing.assert_array_equal(read_all(tmp_path / "new.h5ad"), np.ones((2, 1)))


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("column", [-1, 10**6])
def test_indices_outside_the_matrix_are_reported_as_damage(
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
    with pytest.raises(UserError, match=r"X cannot be read( at cell 0)?; the file is damaged"):
        read_all(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("part", ["data", "indices"])
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_a_missing_zarr_chunk_is_reported_as_damage(cells: AnnData, tmp_path: Path, part: str, layout: str) -> None:
    cells.X = LAYOUTS[layout](cells.X)
    cells.write_zarr(tmp_path / "cells.zarr")
    for chunk in (tmp_path / "cells.zarr" / "X" / part).rglob("0"):
        if chunk.is_file():
            chunk.unlink()
    with pytest.raises(UserError, match=f"1 of 1 chunks of its {part} are missing"):
        read_all(tmp_path / "cells.zarr")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr_chunks_of_zero_indices_may_be_missing(cells: AnnData, tmp_path: Path, layout: str) -> None:
    one = cells[:, :1].copy()
    one.X = LAYOUTS[layout](one.X)
    one.write_zarr(tmp_path / "cells.zarr")
    assert np.array_equal(read_all(tmp_path / "cells.zarr"), cells[:, :1].X.toarray())


def test_float_noise_is_rounded_off(cells: AnnData, tmp_path: Path) -> None:
    exact = cells.X.toarray()
    cells.X.data += np.float32(2e-4)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert np.array_equal(read_all(tmp_path / "cells.h5ad"), exact)


@pytest.mark.parametrize("member", ["X", "obs", "var"])
def test_the_error_names_the_missing_element(cells: AnnData, tmp_path: Path, member: str) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file[member]
    with pytest.raises(UserError, match=f"has no '?{member}"):
        CellFile(tmp_path / "cells.h5ad")


def test_a_matrix_of_another_shape_is_refused(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        file["X"].attrs["shape"] = (89, 24)
    with pytest.raises(UserError, match=r"X has shape \(89, 24\), but obs and var have \(90, 24\)"):
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
def test_the_error_for_an_invalid_count_names_cell_and_gene(
    cells: AnnData, tmp_path: Path, value: float, words: str
) -> None:
    counts = cells.X.toarray()
    counts[41, 5] = value
    cells.X = sparse.csr_matrix(counts)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=f"cell 'cell41', gene 'GENE5' is .*{words}"):
        read_all(tmp_path / "cells.h5ad")


@pytest.mark.parametrize(("axis", "what"), [("obs", "cells"), ("var", "genes")])
def test_names_must_be_unique_for_training(cells: AnnData, tmp_path: Path, axis: str, what: str) -> None:
    names = getattr(cells, axis).index.tolist()
    table = pd.DataFrame(index=[names[0], *names[:-1]])
    other = AnnData(cells.X, **{axis: table})
    other.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=f"names of {what} must be unique, but '{names[0]}'"):
        read_cells(tmp_path / "cells.h5ad")


TABLE = pd.DataFrame(
    {
        "type": pd.Categorical(["a", None, "γ/δ", "a", "a"], categories=["γ/δ", "a"]),
        "size": [1.0, 2.0, np.nan, 4.0, 5.0],
        "note": ["", "x", "é", "y", "z"],
    },
    index=pd.Index([f"zelle{index}é" for index in range(5)], dtype=object),
)


@pytest.mark.parametrize("rows", [1, 2, 5, 4096])
@pytest.mark.parametrize("name", [None, "barcode"])
def test_tables_read_in_blocks_equal_those_of_anndata(
    tmp_path: Path, rows: int, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obs_table, "ROWS", rows)
    table = TABLE.rename_axis(index=name)
    with h5py.File(tmp_path / "tables.h5", "w") as file:
        obs_table.limit_metadata_cache(file)
        obs_table.write_table(file, "obs", table, rows)
        write_elem(file, "whole", table)
        for element in ("obs", "whole"):
            for read in (obs_table.read_table, read_elem):
                pd.testing.assert_frame_equal(read(file[element]), table)


def test_a_table_with_unusual_names_is_read_by_anndata(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "tables.h5", "w") as file:
        write_elem(file, "obs", TABLE)
        del file["obs/_index"]
        write_elem(file, "obs/_index", np.arange(5))
        assert obs_table.read_table(file["obs"]).index.tolist() == [0, 1, 2, 3, 4]
        file["obs"].attrs["encoding-version"] = "0.3.0"
        with pytest.raises(Exception, match=r"0\.3\.0"):
            obs_table.read_table(file["obs"])


def test_numeric_cell_names_become_text(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        del file["obs/_index"]
        write_elem(file, "obs/_index", np.arange(90))
    read = read_cells(tmp_path / "cells.h5ad")
    assert read.obs_names.tolist() == [str(index) for index in range(90)]
    assert read.obs["cell_type"].tolist() == cells.obs["cell_type"].tolist()
