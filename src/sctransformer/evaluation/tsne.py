"""t-SNE of cell embeddings, for plots."""

import numpy as np
from numpy.typing import NDArray

_PERPLEXITY = 30.0


def tsne(embedding_NE: NDArray[np.floating], seed: int) -> NDArray[np.floating]:
    """Two coordinates per cell; zeros for fewer than four cells, which have no neighbourhoods.

    It starts from principal components, which keeps the arrangement of groups (Kobak & Berens 2019, Nature
    Communications 10, 5416). UMAP would take longer for a few thousand cells: umap-learn compiles for half a minute.

    Args:
        embedding_NE: cell embeddings.
        seed: random seed.
    """
    from sklearn.manifold import TSNE  # takes seconds

    n_cells = len(embedding_NE)
    if n_cells < 4:
        return np.zeros((n_cells, 2))
    perplexity = min(_PERPLEXITY, (n_cells - 1) / 3)
    values_NE = np.asarray(embedding_NE, dtype=np.float32)
    coordinates: NDArray[np.floating] = TSNE(perplexity=perplexity, random_state=seed).fit_transform(values_NE)
    return coordinates
