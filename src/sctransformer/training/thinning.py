"""Thinning of counts: data augmentation for a model that is applied to cells of other sequencing depths."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays


def thin(
    counts_NG: NDArray[np.float32], library_size_N: NDArray[np.float32], kept: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep each molecule with the same probability (binomial thinning).

    The result is distributed like the counts of a less deeply sequenced library. Counts outside the panel are thinned
    too, for the library size.

    Args:
        counts_NG: raw counts, cells x genes of the panel.
        library_size_N: counts of the whole cell.
        kept: probability of keeping a molecule.
        rng: random generator.

    Returns:
        Thinned counts and library sizes.
    """
    outside_N = np.maximum(library_size_N - counts_NG.sum(axis=1), 0.0)
    thinned_NG = rng.binomial(np.rint(counts_NG).astype(np.int64), kept).astype(np.float32)
    thinned_outside_N = rng.binomial(np.rint(outside_N).astype(np.int64), kept)
    return thinned_NG, thinned_NG.sum(axis=1) + thinned_outside_N.astype(np.float32)


def thin_cells(cells: CellArrays, max_removed: float, seeds: Sequence[tuple[int, ...]]) -> CellArrays:
    """Thin each cell by a fraction of its own.

    Args:
        cells: raw counts.
        max_removed: the fraction of counts that is removed is uniform between 0 and this.
        seeds: one seed per cell; cells without a seed are not changed.

    Returns:
        New cells, or `cells` itself if `max_removed` is 0.
    """
    if max_removed == 0.0:
        return cells
    counts_NG, library_size_N = cells.counts_NG.copy(), cells.library_size_N.copy()
    for index, seed in enumerate(seeds):
        rng, row = np.random.default_rng(seed), slice(index, index + 1)
        kept = 1.0 - rng.uniform(0.0, max_removed)
        counts_NG[row], library_size_N[row] = thin(cells.counts_NG[row], cells.library_size_N[row], kept, rng)
    return CellArrays(counts_NG, library_size_N, cells.labels_N)
