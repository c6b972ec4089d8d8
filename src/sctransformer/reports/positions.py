"""Two coordinates per cell, for the map of cells."""

import warnings

import numpy as np
from numpy.typing import NDArray

from sctransformer.evaluation.tsne import tsne
from sctransformer.reports.content import SEED

NEIGHBOURS, MIN_DISTANCE = 30, 0.5
MANY = 10_000
"""More cells get fewer neighbours and start from principal components, which is several times faster."""
FEWEST = 40
"""Fewer cells have too few neighbours; principal components are shown instead."""
FEWEST_FOR_UMAP = 2000
"""Fewer cells are shown by t-SNE, without waiting for umap-learn to compile."""


def sampled_rows(n_cells: int, most: int) -> NDArray[np.int64]:
    """Rows of the cells to show, in order: all, or a random sample."""
    if n_cells <= most:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(SEED).choice(n_cells, most, replace=False))


def positions_of(embedding_NE: NDArray[np.floating], named: str) -> tuple[NDArray[np.float32], str]:
    """Positions of cells by UMAP of their embedding, or by t-SNE of few cells, and how they were computed.

    McInnes et al. 2018, arXiv:1802.03426.

    Args:
        embedding_NE: cell embeddings.
        named: where the embedding comes from, for the description.
    """
    embedding_NE = np.nan_to_num(np.asarray(embedding_NE, dtype=np.float32))
    if len(embedding_NE) < FEWEST:
        return _principal(embedding_NE), f"The first two principal components of {named}"
    if len(embedding_NE) < FEWEST_FOR_UMAP:
        return _finite(tsne(embedding_NE, SEED)), f"t-SNE (seed {SEED}) of {named}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one thread, which a fixed seed needs
        import umap  # takes seconds

        few = len(embedding_NE) < MANY
        number = NEIGHBOURS if few else NEIGHBOURS // 2
        start = "spectral" if few else "pca"
        mapper = umap.UMAP(n_neighbors=number, min_dist=MIN_DISTANCE, init=start, random_state=SEED)
        found = mapper.fit_transform(embedding_NE)
    return _finite(found), f"UMAP ({number} neighbours, minimum distance {MIN_DISTANCE}, seed {SEED}) of {named}"


def _principal(embedding_NE: NDArray[np.float32]) -> NDArray[np.float32]:
    centred_NE = embedding_NE - embedding_NE.mean(axis=0)
    left, size, _ = np.linalg.svd(centred_NE, full_matrices=False)
    position_N2 = np.zeros((len(embedding_NE), 2))
    kept = min(2, len(size))
    position_N2[:, :kept] = left[:, :kept] * size[:kept]
    return _finite(position_N2)


def _finite(position_N2: NDArray[np.floating]) -> NDArray[np.float32]:
    """Cells without neighbours get no position from UMAP; they are shown in the middle."""
    is_known_N = np.isfinite(position_N2).all(axis=1)
    middle = position_N2[is_known_N].mean(axis=0) if is_known_N.any() else 0.0
    return np.where(is_known_N[:, None], position_N2, middle).astype(np.float32)
