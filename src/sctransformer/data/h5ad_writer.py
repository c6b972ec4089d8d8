"""Writing h5ad files in chunks of cells, so that they need not fit in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from sctransformer.data.obs_table import limit_metadata_cache, write_table
from sctransformer.files import atomic_write

BLOCK = 65_536
"""Stored values per compressed chunk of the file."""
_COMPRESSED: dict[str, Any] = {"chunks": (BLOCK,), "compression": "gzip", "compression_opts": 1}


class H5adWriter:
    """An h5ad file to which cells are appended."""

    def __init__(self, file: h5py.File, genes: Sequence[str]) -> None:
        self._file, self._n_genes = file, len(genes)
        write_elem(file, "/", AnnData(var=pd.DataFrame(index=list(genes))))
        empty = sparse.csr_matrix((0, self._n_genes), dtype=np.float32)
        write_elem(file, "X", empty, dataset_kwargs={"indptr_dtype": np.int64, **_COMPRESSED})
        self._matrix = sparse_dataset(file["X"])

    def append(self, counts_NG: sparse.csr_matrix) -> None:
        """Append cells, cells x genes; stored as float32 with sorted column indices."""
        rows = sparse.csr_matrix(counts_NG, dtype=np.float32)
        rows.sort_indices()
        rows.eliminate_zeros()
        self._matrix.append(rows)

    def finish(self, obs: pd.DataFrame) -> None:
        """Write the table of cells, one row per appended cell.

        Raises:
            ValueError: the number of rows differs from the number of appended cells.
        """
        n_cells = self._matrix.shape[0]
        if len(obs) != n_cells:
            raise ValueError(f"{len(obs)} rows of obs for {n_cells} rows of X")
        self._narrow_indptr()
        write_table(self._file, "obs", obs)

    def _narrow_indptr(self) -> None:
        """Store row starts in the type of the column indices where they fit: scipy fails to reverse rows otherwise."""
        group = self._file["X"]
        starts, attributes = group["indptr"][:], dict(group["indptr"].attrs)
        if starts[-1] <= np.iinfo(np.int32).max:
            del group["indptr"]
            group.create_dataset("indptr", data=starts.astype(np.int32), maxshape=(None,), **_COMPRESSED).attrs.update(
                attributes
            )


@contextmanager
def open_h5ad_writer(target: Path, genes: Sequence[str]) -> Iterator[H5adWriter]:
    """Write an h5ad file in chunks of cells, atomically; the same cells give the same bytes.

    Args:
        target: the file.
        genes: names of the genes, the columns of X.
    """
    with atomic_write(target) as temporary, h5py.File(temporary, "w") as file:
        limit_metadata_cache(file)
        yield H5adWriter(file, genes)
