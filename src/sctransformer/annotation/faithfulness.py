"""Whether the genes that explain a label decide it: confidence falls faster without them than without random genes."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.explain import Explanation
from sctransformer.annotation.explain_cells import called, read_rows
from sctransformer.annotation.labelling import Labeller
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.reading import CheckedCells, Chunk
from sctransformer.data.normalise import average_counts
from sctransformer.errors import UserError
from sctransformer.evaluation.bootstrap import RESAMPLES, percentile_interval
from sctransformer.export.bundle import Bundle

MAX_CELLS: Final = 256
"""Cells that are scored again, evenly spaced over the file."""
NUMBERS: Final = (1, 2, 5, 10, 20, 50)
"""Numbers of genes that are deleted."""
_DRAWS = 3
"""Random sets of genes per cell type, whose scores are averaged."""
_NEAREST = 10
"""A random gene is one of this number of genes whose mean expression is nearest to that of the top gene."""
_SMALLEST = 1e-30
"""Probabilities below this count as this, so that log odds are finite."""


class DeletionCurve(NamedTuple):
    """Log odds of the label after genes are set to their mean. Means over cells."""

    numbers: list[int]
    """Number of genes that are set to their mean; the first is 0."""
    top: list[float]
    """Log odds (label against all other cell types) without the top genes of the label."""
    random: list[float]
    """Log odds without as many random genes of equal mean expression."""
    area: float
    """Area between the curves divided by the largest number of genes: how much lower log odds are on average without
    the top genes than without random ones."""
    low: float
    """Lower end of the 95 % bootstrap interval of the area, over cells."""
    high: float
    cells: int
    """Number of cells; `unknown` cells are left out."""


def deletion_curve(
    bundle: Bundle, read: CheckedCells, labeller: Labeller, limits: Limits, explained: Explanation, seed: int = 0
) -> DeletionCurve:
    """Delete the top genes of each cell's label, and random genes, and score the cells again with the ONNX graph.

    A deleted gene has its mean in the training cells. Random genes are matched: each is one of the ten genes nearest in
    mean expression to a top gene, and is no top gene itself. The test is known as a deletion curve (Petsiuk et al.
    2018, arXiv:1806.07421, section 4.1).

    Args:
        bundle: the model.
        read: the cells; at most 256, evenly spaced, are used.
        labeller: for their genes.
        limits: beyond which a cell is unknown, and left out.
        explained: the top genes, see `explain_types`; at most 50 of each label are deleted.
        seed: random seed for the random genes and the bootstrap.

    Raises:
        UserError: no cell has a label with at least two top genes that are measured.
    """
    n_cells = read.cells.n_cells
    chunk = read_rows(read, np.unique(np.linspace(0, n_cells - 1, min(n_cells, MAX_CELLS)).astype(np.int64)))
    scores = labeller.scores(chunk.counts_NG, chunk.library_size_N)
    label_N = called(scores, chunk, limits).label_N
    mean_G = bundle.vocabulary["mean"].to_numpy(dtype=np.float64)
    measured_G = labeller.match.column_G >= 0
    tops = top_genes(bundle, explained, measured_G)
    used_N = np.flatnonzero(np.isin(label_N, list(tops)))
    if not len(used_N):
        raise UserError(
            f"{read.source}: none of {len(label_N):,} cells has a label with at least two explaining genes that are "
            "measured; give a file with cells of the model's types."
        )
    label_N, chunk = label_N[used_N], Chunk(chunk.counts_NG[used_N], chunk.library_size_N[used_N], None)
    largest = min(len(tops[label]) for label in set(label_N.tolist()))
    numbers = [0, *(number for number in NUMBERS if number < largest), largest]
    rng = np.random.default_rng(seed)
    curves = _Deletion(labeller, chunk, label_N, mean_G, numbers)
    without_top = curves.scored(tops)  # numbers of genes x cells
    without_random = np.mean(
        [
            curves.scored({label: matched(top, mean_G, measured_G, rng) for label, top in tops.items()})
            for _ in range(_DRAWS)
        ],
        axis=0,
    )
    area_N = np.trapezoid(without_random - without_top, numbers, axis=0) / largest
    resampled_T = area_N[rng.integers(0, len(area_N), (RESAMPLES, len(area_N)))].mean(axis=1)
    low, high = percentile_interval(resampled_T)
    top, random = (values.mean(axis=1).tolist() for values in (without_top, without_random))
    return DeletionCurve(numbers, top, random, float(area_N.mean()), low, high, len(label_N))


def top_genes(bundle: Bundle, explained: Explanation, measured_G: NDArray[np.bool_]) -> dict[int, NDArray[np.int64]]:
    """Positions of the measured genes with the largest contributions to each label that has at least two.

    At most a third of the measured genes are taken, so that there are others to compare with.
    """
    position = {gene: index for index, gene in enumerate(bundle.genes)}
    most = min(max(NUMBERS), int(measured_G.sum()) // 3)
    found = {}
    for label, name in enumerate(bundle.labels["name"]):
        own = explained.genes.loc[explained.genes["cell_type"] == name, "gene"]
        top = [position[gene] for gene in own if measured_G[position[gene]]][:most]
        if len(top) > 1:
            found[label] = np.array(top, dtype=np.int64)
    return found


def matched(
    top: NDArray[np.int64], mean_G: NDArray[np.float64], measured_G: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Random genes of about the same mean expression as each of the top genes; each is chosen once.

    Args:
        top: positions of the top genes, which are not chosen.
        mean_G: mean expression.
        measured_G: genes that may be chosen.
        rng: source of randomness.
    """
    is_free_G = measured_G.copy()
    is_free_G[top] = False
    chosen = []
    for gene in top:
        free = np.flatnonzero(is_free_G)
        nearest = free[np.argsort(np.abs(mean_G[free] - mean_G[gene]), kind="stable")[:_NEAREST]]
        chosen.append(int(rng.choice(nearest)))
        is_free_G[chosen[-1]] = False
    return np.array(chosen, dtype=np.int64)


def log_odds(probabilities_NC: NDArray[np.floating], label_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Logarithm of the probability of a label over that of all other cell types, per cell."""
    every_N = np.arange(len(label_N))
    others_NC = probabilities_NC.astype(np.float64)
    own_N = others_NC[every_N, label_N]
    others_NC[every_N, label_N] = 0.0
    return np.asarray(np.log(np.maximum(own_N, _SMALLEST)) - np.log(np.maximum(others_NC.sum(axis=1), _SMALLEST)))


class _Deletion(NamedTuple):
    """Scores cells again after genes of their label are deleted."""

    labeller: Labeller
    cells: Chunk
    label_N: NDArray[np.int32]
    mean_G: NDArray[np.float64]
    numbers: list[int]

    def scored(self, genes: Mapping[int, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Log odds of the labels, numbers of deleted genes x cells.

        Args:
            genes: genes by label, in the order in which they are deleted.
        """
        library_size_N, counts_NG = self.cells.library_size_N, self.cells.counts_NG.toarray()
        found, done = [], 0
        for number in self.numbers:
            for label in set(self.label_N.tolist()):
                own_N = np.flatnonzero(self.label_N == label)
                deleted = genes[label][done:number]
                counts_NG[np.ix_(own_N, deleted)] = average_counts(self.mean_G[deleted], library_size_N[own_N])
            scores = self.labeller.scores(sparse.csr_matrix(counts_NG), library_size_N)
            found.append(log_odds(scores.probabilities_NC, self.label_N))
            done = number
        return np.array(found)
