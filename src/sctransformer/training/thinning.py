"""Cells as less deep sequencing would have seen them: augmentation for a model that meets cells of other depth."""

from collections.abc import Sequence

import numpy as np

from sctransformer.data.arrays import CellArrays


def thinned(cells: CellArrays, most: float, seeds: Sequence[tuple[int, ...]]) -> CellArrays:
    """Take away counts at random, of each cell another share.

    Each molecule of a cell is kept with the same probability (binomial thinning): what remains is distributed like the
    counts of a library sequenced less deeply. So is what lies outside the panel, for the library size.

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
        rng = np.random.default_rng(seed)
        kept = 1.0 - rng.uniform(0.0, most)
        counts_G = cells.counts_NG[row]
        found = np.flatnonzero(counts_G > 0)
        elsewhere = max(0.0, float(library_size_N[row]) - float(counts_G.sum()))
        counts_NG[row, found] = rng.binomial(np.rint(counts_G[found]).astype(np.int64), kept)
        library_size_N[row] = counts_NG[row].sum() + rng.binomial(round(elsewhere), kept)
    return CellArrays(counts_NG, library_size_N, cells.labels_N)
