"""Majority voting as in CellTypist: cells are clustered, and each cluster gets its most frequent label.

The only part of annotation that has the embeddings of all cells in memory, and the only one that needs scanpy.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.annotation.fields import GROUPS, MAJORITY, categorical

_NEIGHBOURS = 10
_RESOLUTIONS = ((5_000, 5), (20_000, 10), (40_000, 15), (100_000, 20), (200_000, 25))
_FINEST = 30
"""Resolution of Leiden clustering by number of cells, as CellTypist chooses it: many small clusters."""


def voted_columns(
    embedding_NE: NDArray[np.float32], label_N: NDArray[np.integer], labels: pd.DataFrame
) -> dict[str, "pd.Categorical[str]"]:
    """Leiden clusters of the embeddings, and the most frequent label of each cluster.

    Rejected cells vote too: a cluster that is mostly unknown is unknown.

    Args:
        embedding_NE: cell embeddings.
        label_N: label indices, UNKNOWN where rejected.
        labels: cell types, see `Bundle.labels`.

    Returns:
        The columns `over_clustering` and `majority_voting`, both categorical. Equal cells give equal columns.
    """
    group_N = leiden_groups(embedding_NE)
    voted_N = majority(group_N, label_N, len(labels))
    names = [str(group) for group in range(int(group_N.max()) + 1)]
    groups = pd.Categorical.from_codes(group_N.tolist(), categories=pd.Index(names))
    return {GROUPS: groups, MAJORITY: categorical(voted_N, labels["name"].tolist())}


def leiden_groups(embedding_NE: NDArray[np.float32]) -> NDArray[np.int64]:
    """Clusters of cells: Leiden (Traag et al. 2019) on the graph of nearest neighbours, with a fixed seed."""
    n_cells = len(embedding_NE)
    if n_cells <= _NEIGHBOURS + 1:
        return np.zeros(n_cells, dtype=np.int64)
    import scanpy
    from anndata import AnnData

    cells = AnnData(obs=pd.DataFrame(index=[str(cell) for cell in range(n_cells)]), obsm={"X": embedding_NE})
    _cache_compiled_umap()
    scanpy.pp.neighbors(cells, n_neighbors=_NEIGHBOURS, use_rep="X", random_state=0)
    resolution = next((value for limit, value in _RESOLUTIONS if n_cells < limit), _FINEST)
    scanpy.tl.leiden(cells, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    return cells.obs["leiden"].astype(int).to_numpy(dtype=np.int64)


def _cache_compiled_umap() -> None:
    """Let numba store the two functions of umap-learn that scanpy's `pp.neighbors` calls, as it does the others.

    Otherwise each process compiles for fifteen seconds. Results do not change. The files are in numba's cache
    (https://numba.readthedocs.io/en/stable/developer/caching.html), beside umap-learn or in `NUMBA_CACHE_DIR`.
    """
    from umap import umap_  # slow to import

    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        function.enable_caching()


def majority(group_N: NDArray[np.integer], label_N: NDArray[np.integer], n_labels: int) -> NDArray[np.int32]:
    """The most frequent label of each cell's cluster, the first of equal ones; UNKNOWN, -1, is a label too."""
    votes = np.zeros((int(group_N.max()) + 1, n_labels + 1), dtype=np.int64)  # clusters x labels
    np.add.at(votes, (group_N, label_N), 1)  # -1 is the last column
    winners = votes.argmax(axis=1)
    winners[winners == n_labels] = -1
    return np.asarray(winners[group_N], dtype=np.int32)
