"""Files of other formats, with filters that are not installed or with parts elsewhere are refused by name."""

import builtins
import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata import AnnData
from scipy.io import mmwrite

from sctransformer.data import opening
from sctransformer.data.cells import CellFile
from sctransformer.errors import UserError
from tests.conftest import simulated_cells


def written(folder: Path, cells: AnnData | None = None) -> Path:
    (simulated_cells() if cells is None else cells).write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def other_files(name: str, path: Path) -> None:
    with h5py.File(path, "w") as file:
        if name == "h5mu":
            file.create_group("mod/rna")
            file.create_group("obs")
        elif name == "10x 3":
            file["matrix/barcodes"] = np.array([b"AAAC"])
        elif name == "10x 2":
            file["GRCh38/barcodes"] = np.array([b"AAAC"])
        else:
            file["matrix"] = np.ones((2, 2))
            file.create_group("row_attrs")
            file.create_group("col_attrs")


@pytest.mark.parametrize(
    ("name", "conversion"),
    [
        ("10x 3", r"10x file: .*scanpy\.read_10x_h5\(file\)\.write_h5ad"),
        ("10x 2", r"Cell Ranger 2: .*genome='GRCh38'"),
        ("loom", r"loom file: `pip install loompy`.*scanpy\.read_loom"),
    ],
)
def test_the_error_for_another_format_gives_the_conversion(name: str, conversion: str, tmp_path: Path) -> None:
    other_files(name, tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=conversion):
        CellFile(tmp_path / "cells.h5ad")


def test_the_error_for_several_modalities_gives_the_conversion(tmp_path: Path) -> None:
    other_files("h5mu", tmp_path / "cells.h5mu")
    with pytest.raises(UserError, match=r"MuData file .*mudata\.read_h5mu\(file\)\.mod\['rna'\]\.write_h5ad"):
        CellFile(tmp_path / "cells.h5mu")


def test_the_error_for_a_folder_of_cell_ranger_gives_the_conversion(tmp_path: Path) -> None:
    mmwrite(tmp_path / "matrix.mtx", np.ones((2, 2), dtype=int))
    with pytest.raises(UserError, match=r"Cell Ranger \(matrix\.mtx\): .*scanpy\.read_10x_mtx\('.*'\)\.write_h5ad"):
        CellFile(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "cells.h5ad.gz",
            gzip.compress(b"\x89HDF", mtime=0),
            "this is a compressed h5ad file: unpack it with `gunzip --keep file`",
        ),
        ("cells.csv", b"cell,CD3D\na,1\n", "(CSV): convert it with `scanpy.read_csv(file).write_h5ad('cells.h5ad')`"),
        ("cells.CSV.gz", gzip.compress(b"cell,CD3D\n", mtime=0), "(CSV): convert it with `scanpy.read_csv(file)"),
        ("cells.txt", b"cell\tCD3D\n", "(text): convert it with `scanpy.read_csv(file, delimiter='\\t').write_h5ad("),
        ("cells.mtx", b"%%MatrixMarket matrix", "(mtx): convert it with `scanpy.read_10x_mtx(folder).write_h5ad("),
        ("cells.rds", gzip.compress(b"X\n", mtime=0), "an R object: convert it in R with `zellkonverter::writeH5AD("),
        ("cells.h5ad", gzip.compress(b"X\n", mtime=0), "compressed with gzip: unpack it"),
        ("cells.h5ad", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS, not the file itself: fetch it with"),
        ("cells.h5ad", b"<!DOCTYPE html><html>404</html>", "a web page: the download failed"),
        ("cells.h5ad.dvc", b"outs:\n- md5: 0\n", "a .dvc file: fetch its data with `dvc pull file`"),
        ("cells.parquet", b"PAR1PAR1", "Parquet table: convert it with `anndata.AnnData(pandas.read_parquet(file))"),
        ("cells.xlsx", b"PK\x03\x04", "an Excel workbook: save it as CSV"),
        ("cells.h5ad", b"PK\x03\x04", "an archive: unpack it"),
        ("cells.csv", b"", "it is empty"),
        ("cells.h5", b"no HDF5", "it is not HDF5 (it starts with b'no HDF5')"),
    ],
)
def test_files_that_are_not_hdf5_are_named_with_their_conversion(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        CellFile(tmp_path / name)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path / name}: is not a readable h5ad file; ")


def test_a_file_of_seurat_is_named_with_its_conversion(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cells.h5seurat", "w") as file:
        file.create_group("assays")
        file["cell.names"] = np.array([b"AAAC"])
    with pytest.raises(UserError, match=r"file of Seurat \(h5Seurat\): .*SeuratDisk::Convert"):
        CellFile(tmp_path / "cells.h5seurat")


FILTERS = {"lzf": "lzf", "Zstandard": 32015, "Blosc": 32001, "LZ4": 32004}


def compressed(path: Path, place: str, code: Any) -> None:
    import hdf5plugin  # noqa: F401

    with h5py.File(path, "r+") as file:
        values = file[place][:]
        del file[place]
        file.create_dataset(place, data=values, chunks=True, compression=code)


@pytest.mark.parametrize(
    ("name", "place"),
    [*((name, "X/data") for name in FILTERS), ("lzf", "obs/_index"), ("lzf", "var/_index")],
)
def test_files_with_other_filters_are_read(name: str, place: str, tmp_path: Path) -> None:
    cells = simulated_cells()
    compressed(written(tmp_path, cells), place, FILTERS[name])
    with CellFile(tmp_path / "cells.h5ad") as file:
        ((_, chunk),) = file.chunks()
    np.testing.assert_array_equal(chunk.toarray(), cells.X.toarray())


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    compressed(path, "X/data", 32015)
    real = builtins.__import__

    def no_plugin(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "hdf5plugin":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_plugin)
    monkeypatch.setattr(opening.h5z, "filter_avail", lambda code: code != 32015)
    with pytest.raises(UserError, match=r"X cannot be read: .* HDF5 filter Zstandard, which is .*pip install hdf5p"):
        CellFile(path)


def test_one_unreadable_matrix_does_not_end_the_search(tmp_path: Path) -> None:
    cells = simulated_cells()
    cells.raw = cells
    cells.layers["counts"] = np.array(cells.X.toarray())
    cells.layers["more"] = np.array(cells.X.toarray())
    path = written(tmp_path, cells)
    for broken, found in ((["X"], "counts"), (["X", "layers/counts"], "raw.X"), (["layers/more"], "X")):
        written(tmp_path, cells)
        with h5py.File(path, "r+") as file:
            for place in broken:
                name = f"{place}/indices" if isinstance(file[place], h5py.Group) else place
                shape = file[name].shape
                del file[name]
                file[name] = np.full(shape, b"x")
        with CellFile(path) as opened:
            assert opened.counts_in == found
            assert (opened.notes == []) == (broken == ["layers/more"])
            next(opened.chunks())


def reaching(path: Path, how: str) -> str:
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones((90, 24))
    with h5py.File(path, "r+") as file:
        if how == "link":
            file["layers/counts"] = h5py.ExternalLink(other.name, "secret")
            return "'layers/counts' is a link to the file 'other.h5'"
        if how == "link of a table":
            file["uns/deep/er"] = h5py.ExternalLink("/etc/passwd", "/")
            return "'uns/deep/er' is a link to the file"
        if how == "external storage":
            file.create_dataset("obsm/raw", (4,), "f8", external=[(str(path.with_name("raw.bin")), 0, 32)])
            return "'obsm/raw' is stored in another file"
        layout = h5py.VirtualLayout((90, 24), "f8")
        layout[:] = h5py.VirtualSource(other, "secret", (90, 24))
        del file["X"]
        file.create_virtual_dataset("X", layout)
        return "'X' is a virtual dataset"


@pytest.mark.parametrize("how", ["link", "link of a table", "external storage", "virtual dataset"])
def test_a_file_that_reaches_outside_itself_is_refused(how: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    words = reaching(path, how)
    with pytest.raises(UserError, match=words):
        CellFile(path)
    with pytest.raises(UserError, match=words):
        opening.require_self_contained(path)


def test_links_inside_a_file_are_followed(tmp_path: Path) -> None:
    path = written(tmp_path)
    with h5py.File(path, "r+") as file:
        file["layers/counts"] = h5py.SoftLink("/X")
        file["uns/again"] = file["uns"]
    with CellFile(path) as opened:
        assert opened.counts_in == "X"


@pytest.mark.parametrize("place", ["X/data", "secret"])
def test_a_symbolic_link_in_a_zarr_folder_is_refused(place: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.zarr"
    simulated_cells().write_zarr(path)
    outside = tmp_path / "outside"
    if (path / place).exists():
        (path / place).rename(outside)
    else:
        outside.write_text("secret")
    (path / place).symlink_to(outside)
    with pytest.raises(UserError, match=rf"cells\.zarr: '{place}' is a symbolic link; .*cp -rL"):
        CellFile(path)


def test_a_link_to_a_zarr_folder_is_followed(tmp_path: Path) -> None:
    simulated_cells().write_zarr(tmp_path / "cells.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "cells.zarr")
    assert CellFile(tmp_path / "link.zarr").n_cells == 90
