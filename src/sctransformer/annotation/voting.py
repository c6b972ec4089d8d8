"""Majority voting as CellTypist's users know it: alike cells are grouped, and each group takes its most frequent label.

The one part of annotation that holds something of every cell at once, its embedding, and that needs scanpy.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.annotation.columns import categorical
from sctransformer.annotation.results import Annotation

GROUPS, MAJORITY = "over_clustering", "majority_voting"
"""Columns of obs; the names are CellTypist's."""
_NEIGHBOURS = 10
_RESOLUTIONS = ((5_000, 5), (20_000, 10), (40_000, 15), (100_000, 20), (200_000, 25))
_FINEST = 30
"""Resolution of Leiden by number of cells, as CellTypist chooses it: groups are to be small."""


def voted_columns(annotation: Annotation, labels: pd.DataFrame) -> dict[str, "pd.Categorical[str]"]:
    """Leiden groups over the embeddings' neighbour graph, and each group's most frequent label.

    Rejected cells vote too: a group that is mostly unknown is unknown.

    Args:
        labels: classes, see `Bundle.labels`.

    Returns:
        `over_clustering` and `majority_voting`, both categorical, cells in file order. The same for the same cells.
    """
    group_N = leiden_groups(np.concatenate([part_NE for _, part_NE in annotation.embeddings()]))
    voted_N = majority(group_N, annotation.label_N, len(labels))
    names = [str(group) for group in range(int(group_N.max()) + 1)]
    groups = pd.Categorical.from_codes(group_N.tolist(), categories=pd.Index(names))
    return {GROUPS: groups, MAJORITY: categorical(voted_N, labels["name"].tolist())}


def leiden_groups(embedding_NE: NDArray[np.float32]) -> NDArray[np.int64]:
    """Groups of alike cells: Leiden (Traag et al. 2019) over the graph of nearest neighbours, seeded."""
    n_cells = len(embedding_NE)
    if n_cells <= _NEIGHBOURS + 1:
        return np.zeros(n_cells, dtype=np.int64)
    import scanpy
    from anndata import AnnData

    cells = AnnData(obs=pd.DataFrame(index=[str(cell) for cell in range(n_cells)]), obsm={"X": embedding_NE})
    scanpy.pp.neighbors(cells, n_neighbors=_NEIGHBOURS, use_rep="X", random_state=0)
    resolution = next((value for limit, value in _RESOLUTIONS if n_cells < limit), _FINEST)
    scanpy.tl.leiden(cells, resolution=resolution, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    return cells.obs["leiden"].astype(int).to_numpy(dtype=np.int64)


def majority(group_N: NDArray[np.integer], label_N: NDArray[np.integer], n_labels: int) -> NDArray[np.int32]:
    """For each cell the most frequent label of its group, of two the first; UNKNOWN, -1, is a label like any other."""
    votes_GL = np.zeros((int(group_N.max()) + 1, n_labels + 1), dtype=np.int64)
    np.add.at(votes_GL, (group_N, label_N), 1)  # -1 is the last column
    winner_G = votes_GL.argmax(axis=1)
    winner_G[winner_G == n_labels] = -1
    return np.asarray(winner_G[group_N], dtype=np.int32)
