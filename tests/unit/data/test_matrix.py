"""Whatever type a file stores, counts are read exactly and added in a wide type."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer.data import matrix
from sctransformer.data.cells import CellFile
from sctransformer.data.gene_map import GeneMap
from sctransformer.data.genes import identify
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.statistics import count_statistics

LAYOUTS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda values: values}
TYPES = ["i1", "u1", "i2", "<u2", ">u2", ">i4", ">f4", "<f2", ">f2", ">f8", "<u4", ">u8"]


def _stored(path: Path, dtype: str, layout: str) -> np.ndarray:
    """Write a file whose X is of a type that AnnData may not write itself; return the counts."""
    counts = np.random.default_rng(0).poisson(3, (12, 40)).astype(np.float32)
    counts[:, :20] += 100
    adata = AnnData(LAYOUTS[layout](counts))
    adata.var_names = ["CD4"] * 30 + [f"G{index}" for index in range(10)]
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        name = "X" if layout == "dense" else "X/data"
        values, attributes = file[name][:].astype(dtype), dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)
    return counts


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
def test_sums_do_not_depend_on_the_stored_type(
    dtype: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = _stored(tmp_path / "cells.h5ad", dtype, layout)
    for limit in (10_000_000, 50):
        monkeypatch.setattr(matrix, "IN_MEMORY_VALUES", limit)
        with CellFile(tmp_path / "cells.h5ad") as file:
            identity = identify(file.var, GeneMap({}, {}, frozenset({"CD4"})), "f")
            sizes = choose_library_sizes(file.obs, None, "f")
            chunks = list(file.chunks(5))
            read = np.concatenate([chunk.toarray() for _, chunk in chunks])
            genes = np.concatenate([identity.gather(chunk).toarray() for _, chunk in chunks])
            sums = np.concatenate([sizes.of_chunk(start, chunk) for start, chunk in chunks])
            statistics = count_statistics(chunks, file.genes)
        np.testing.assert_array_equal(read, counts)
        np.testing.assert_array_equal(genes[:, 0], counts[:, :30].sum(axis=1))
        np.testing.assert_array_equal(sums, counts.sum(axis=1))
        np.testing.assert_array_equal(statistics.counts_N, counts.sum(axis=1))


def test_entries_stored_twice_are_added_in_a_wide_type(tmp_path: Path) -> None:
    AnnData(np.ones((2, 3), dtype=np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([2, 3])}
        del file["X"]
        group = file.create_group("X")
        group.attrs.update(attributes)
        group["data"] = np.array([100, 100, 100, 7], dtype=np.int8)
        group["indices"], group["indptr"] = np.array([1, 1, 1, 2]), np.array([0, 3, 4])
    with CellFile(tmp_path / "cells.h5ad") as file:
        ((start, chunk),) = file.chunks()
        assert count_statistics([(start, chunk)], file.genes).counts_N.tolist() == [300, 7]
        assert chunk.toarray().tolist() == [[0, 300, 0], [0, 0, 7]]
