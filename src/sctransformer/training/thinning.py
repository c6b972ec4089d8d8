"""Cells as less deep sequencing would have seen them: augmentation for a model that meets cells of other depth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays


def thin(
    counts_NG: NDArray[np.float32], library_size_N: NDArray[np.float32], kept: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep each molecule with the same probability (binomial thinning).

    What remains is distributed like the counts of a library that was sequenced less deeply. So is what lies outside the
    panel, for the library size.

    Args:
        counts_NG: raw counts, cells x genes of the panel.
        library_size_N: counts of the whole cell.
        kept: the probability.
        rng: what is drawn.

    Returns:
        Counts and library sizes that are left.
    """
    elsewhere_N = np.maximum(library_size_N - counts_NG.sum(axis=1), 0.0)
    left_NG = rng.binomial(np.rint(counts_NG).astype(np.int64), kept).astype(np.float32)
    left_elsewhere_N = rng.binomial(np.rint(elsewhere_N).astype(np.int64), kept)
    return left_NG, left_NG.sum(axis=1) + left_elsewhere_N.astype(np.float32)


def thinned(cells: CellArrays, most: float, seeds: Sequence[tuple[int, ...]]) -> CellArrays:
    """Thin each cell by a share of its own.

    Args:
        cells: raw counts.
        most: largest share of a cell's counts that is taken away; drawn evenly between 0 and this.
        seeds: numbers that decide what is drawn, one sequence a cell; cells beyond stay as they are.

    Returns:
        New cells, or the same ones if nothing is to be taken away.
    """
    if most == 0.0:
        return cells
    counts_NG, library_size_N = cells.counts_NG.copy(), cells.library_size_N.copy()
    for row, seed in enumerate(seeds):
        rng, one = np.random.default_rng(seed), slice(row, row + 1)
        kept = 1.0 - rng.uniform(0.0, most)
        counts_NG[one], library_size_N[one] = thin(cells.counts_NG[one], cells.library_size_N[one], kept, rng)
    return CellArrays(counts_NG, library_size_N, cells.labels_N)
