"""Files that cannot be annotated: a name, a function that makes the file, and a part of the expected error message."""

import gzip
import pickle  # noqa: TID251 (to test that it is never loaded)
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS
from tests.conftest import simulated_cells

Make = Callable[[Path], Path]


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def _written(folder: Path, cells: AnnData) -> Path:
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def _bytes(change: Callable[[bytes], bytes]) -> Make:
    def make(folder: Path) -> Path:
        path = _written(folder, simulated_cells())
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def _cells(change: Callable[[AnnData], AnnData | None]) -> Make:
    def make(folder: Path) -> Path:
        cells = simulated_cells()
        changed = change(cells)
        return _written(folder, cells if changed is None else changed)

    return make


def _counts(change: Callable[[np.ndarray], np.ndarray], dense: bool = False) -> Make:
    def make(cells: AnnData) -> None:
        changed = change(cells.X.toarray().astype(np.float64))
        cells.X = changed if dense else sparse.csr_matrix(changed)

    return _cells(make)


def _hdf5(change: Callable[[h5py.File], None]) -> Make:
    def make(folder: Path) -> Path:
        path = _written(folder, simulated_cells())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def _replaced(name: str, values: Any) -> Make:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return _hdf5(change)


def _in_place(name: str, place: int, value: float) -> Make:
    def change(file: h5py.File) -> None:
        file[name][place] = value

    return _hdf5(change)


def _zarr(change: Callable[[Path], None]) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "cells.zarr"
        simulated_cells(4000).write_zarr(path)
        change(path)
        return path

    return make


def _library_size(value: float) -> Make:
    def change(cells: AnnData) -> None:
        cells.obs.iloc[5, cells.obs.columns.get_loc(OBS.library_size)] = value

    return _cells(change)


def _renamed(rename: Callable[[str], str]) -> Make:
    def change(cells: AnnData) -> None:
        cells.var_names = [rename(name) for name in cells.var_names]

    return _cells(change)


def _some_logged_genes(cells: AnnData) -> AnnData:
    cells.X = np.log1p(cells.X)
    return cells[:, :6].copy()


def _other_logged_genes(cells: AnnData) -> None:
    cells.X = np.log1p(cells.X)
    cells.var_names = [f"x{name}" for name in cells.var_names]


def _ranks(counts: np.ndarray) -> np.ndarray:
    return counts.argsort(axis=1).argsort(axis=1) + 1.0


def _linked(file: h5py.File) -> None:
    file["layers/counts"] = h5py.ExternalLink("/etc/passwd", "/X")


def _pickled(folder: Path) -> Path:
    path = folder / "cells.h5ad"
    path.write_bytes(pickle.dumps(Trap(folder / "sprung")))
    return path


def _tenx(folder: Path) -> Path:
    path = folder / "cells.h5ad"
    with h5py.File(path, "w") as file:
        file["matrix/barcodes"] = np.array([b"AAAC", b"AAAG"])
        file["matrix/data"] = np.arange(3)
    return path


def _plain_folder(folder: Path) -> Path:
    (folder / "cells.zarr").mkdir()
    return folder / "cells.zarr"


def _lost_chunk(path: Path) -> None:
    chunks = sorted(file for file in (path / "X" / "data").rglob("*") if file.is_file() and "zarr" not in file.name)
    chunks[-1].unlink()


def _broken_metadata(path: Path) -> None:
    for file in path.rglob("zarr.json"):
        file.write_text("{")
    for file in path.rglob(".zgroup"):
        file.write_text("{")


def _no_obs(path: Path) -> None:
    shutil.rmtree(path / "obs")
    for name in (".zmetadata",):
        (path / name).unlink(missing_ok=True)
    if (path / "zarr.json").exists():
        zarr.consolidate_metadata(path)


MALFORMED: dict[str, tuple[Make, str]] = {
    "empty": (_bytes(lambda content: b""), "it is empty"),
    "text": (_bytes(lambda content: b"gene\tcell\n"), "it is not HDF5"),
    "compressed": (_bytes(gzip.compress), "this is a file compressed with gzip"),
    "pickle": (_pickled, "it is not HDF5"),
    "cut in half": (_bytes(lambda content: content[: len(content) // 2]), "cut short or damaged"),
    "last byte missing": (_bytes(lambda content: content[:-1]), "cut short or damaged"),
    "only a signature": (_bytes(lambda content: content[:8] + b"x" * 500), "cut short or damaged"),
    "10x file": (_tenx, "scanpy.read_10x_h5"),
    "no obs": (_hdf5(lambda file: file.__delitem__("obs")), "has no 'obs'"),
    "no var": (_hdf5(lambda file: file.__delitem__("var")), "has no 'var'"),
    "no X": (_hdf5(lambda file: file.__delitem__("X")), "has no X, raw.X or layer"),
    "obs is not a table": (_replaced("obs", np.arange(90)), "obs is not a table"),
    "X has text": (_replaced("X", np.array([[b"a"] * 24] * 90)), "not numbers"),
    "X has three dimensions": (_replaced("X", np.ones((90, 24, 2))), "3 dimensions"),
    "X too short": (_replaced("X", np.ones((80, 24))), "but obs and var have"),
    "column index outside the matrix": (_in_place("X/indices", 7, 999), "damaged"),
    "row pointers not sorted": (_in_place("X/indptr", 5, 10**6), "damaged"),
    "NaN": (_counts(lambda counts: np.where(counts == counts.max(), np.nan, counts)), "neither a number nor zero"),
    "infinite": (_counts(lambda counts: np.where(counts == counts.max(), np.inf, counts)), "neither a number nor"),
    "negative": (_counts(lambda counts: counts - 2.0), "negative"),
    "fractions": (_counts(lambda counts: counts / 2 + 100.25 * (counts > 8)), "raw counts"),
    "log-normalised": (_counts(lambda counts: np.log1p(counts / 7)), "looks log-normalised"),
    "log-normalised, of some genes": (_cells(_some_logged_genes), "looks log-normalised"),
    "log-normalised, of other genes": (_cells(_other_logged_genes), "looks log-normalised"),
    "ranks": (_counts(_ranks), "looks like ranks"),
    "scaled": (_counts(lambda counts: (counts - counts.mean(0)) / counts.std(0), dense=True), "looks scaled"),
    "too large for an integer in float32": (_counts(lambda counts: counts * 2.0**23), "raw counts"),
    "no cells": (_cells(lambda cells: cells[:0].copy()), "has no cells"),
    "no genes": (_cells(lambda cells: cells[:, :0].copy()), "cover 0.0%"),
    "other genes": (_renamed(lambda name: f"x{name}"), "most expressed missing genes: GENE"),
    "mouse genes": (_renamed(str.capitalize), "use a model of the file"),
    "unknown ids": (_renamed(lambda name: f"ENSG{int(name[4:]):011d}"), "Ensembl ids"),
    "half of the genes": (_cells(lambda cells: cells[:, :12].copy()), "under the minimum of 80.0%"),
    "library size too small": (_library_size(3.0), "smaller than the sum"),
    "library size missing": (_library_size(np.nan), "not a positive number"),
    "library size beyond any cell": (_library_size(1e30), "larger than any library"),
    "library size infinite": (_library_size(np.inf), "not a positive number"),
    "link to another file": (_hdf5(_linked), "'layers/counts' is a link to the file '/etc/passwd'"),
    "library size negative": (_library_size(-5.0), "not a positive number"),
    "folder without zarr": (_plain_folder, "not a readable zarr group"),
    "zarr with broken metadata": (_zarr(_broken_metadata), "zarr"),
    "zarr without obs": (_zarr(_no_obs), "obs"),
    "zarr with a missing chunk": (_zarr(_lost_chunk), "chunks of its"),
}
"""Name -> function that makes the file in a folder, and a part of the error message."""
