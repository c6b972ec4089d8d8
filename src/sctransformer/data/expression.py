"""The raw counts of a file in memory, over all of its genes, for measurements that are not about a model's panel."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.cells import CellFile
from sctransformer.data.gene_map import read_gene_map
from sctransformer.data.genes import identify
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.normalise import log1p_cp10k


class CountedCells(NamedTuple):
    """Raw counts of cells, with genes named by approved symbols."""

    counts_NG: sparse.csr_matrix
    library_size_N: NDArray[np.float64]
    genes: list[str]
    obs: pd.DataFrame

    def own_expression(self, regulators: Sequence[str]) -> NDArray[np.float64]:
        """log1p of counts per 10,000 of each regulator's own gene, cells x regulators; 0 if it is not measured."""
        column_R = pd.Index(self.genes).get_indexer(pd.Index(regulators))
        own_NR = np.zeros((len(self.obs), len(column_R)))
        measured_R = column_R >= 0
        counts = self.counts_NG[:, column_R[measured_R]]
        own_NR[:, measured_R] = log1p_cp10k(counts, self.library_size_N).toarray()
        return own_NR


def read_counts(
    file: Path, gene_column: str | None = None, max_cells: int | None = None, seed: int = 0
) -> CountedCells:
    """Read cells of a file, all or a random sample, in file order.

    Args:
        file: h5ad file or zarr folder.
        gene_column: column of var with the names of the genes; None: chosen.
        max_cells: size of the sample; None: all cells.
        seed: random seed of the sample.

    Raises:
        UserError: the file cannot be read, or holds no raw counts or no known genes.
    """
    with CellFile(file) as source:
        identity = identify(source.var, read_gene_map(), str(file), gene_column)
        sizes, counts, library_sizes = choose_library_sizes(source.obs, None, str(file)), [], []
        chosen_N = np.ones(source.n_cells, dtype=bool)
        if max_cells is not None and source.n_cells > max_cells:
            chosen_N[:] = False
            chosen_N[np.random.default_rng(seed).permutation(source.n_cells)[:max_cells]] = True
        for start, chunk in source.chunks():
            own_N = chosen_N[start : start + chunk.shape[0]]
            if own_N.any():
                counts.append(identity.gather(chunk[own_N]).astype(np.float32))
                library_sizes.append(sizes.of_chunk(start, chunk)[own_N])
        return CountedCells(
            sparse.vstack(counts, "csr"),
            np.concatenate(library_sizes),
            identity.genes.tolist(),
            source.obs[chosen_N].copy(),
        )
