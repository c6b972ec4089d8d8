"""How the targets of a regulator follow its activity, fitted in given cells. Needs no torch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import sparse

from sctransformer._constants import BUNDLE, CLIP
from sctransformer.annotation.label_weights import LabelWeights
from sctransformer.annotation.labelling import Labeller
from sctransformer.annotation.reading import CheckedCells
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.export.bundle import Bundle
from sctransformer.prior.network import Network

_LARGEST_SCORE = 30.0
"""See `model.edge_attention.LARGEST_SCORE`."""
_CHUNK = 512


class Edges(NamedTuple):
    """The edges of one regulator, see `model.edge_attention`. J: edges."""

    target_J: NDArray[np.int64]
    score_J: NDArray[np.float64]
    slope_J: NDArray[np.float64]
    weight_J: NDArray[np.float64]


class MeasuredCells(NamedTuple):
    """Cells with what the model predicts. N: cells, G: genes of the model, C: cell types."""

    expression_NG: NDArray[np.floating]
    """log1p of counts per 10,000."""
    measured_G: NDArray[np.bool_]
    probabilities_NC: NDArray[np.floating]


class Response(NamedTuple):
    """How targets follow the activity of a regulator. N: cells, J: edges."""

    activity_N: NDArray[np.float64]
    slope_J: NDArray[np.float64]
    """Change of a target, in standard deviations, per unit of the activity that does not see the target; within
    labels."""
    r2: float
    """R2 of the targets in the half of the cells that did not fit the slopes; 0 is the mean of their label."""


def measured_cells(read: CheckedCells, labeller: Labeller, most: int, seed: int) -> MeasuredCells:
    """Score a random sample of the cells.

    Args:
        read: the cells.
        labeller: for their genes.
        most: largest number of cells.
        seed: random seed of the sample.

    Raises:
        UserError: a value is not a raw count, or the file is damaged.
    """
    n_cells = read.cells.n_cells
    chosen_N = np.zeros(n_cells, dtype=bool)
    chosen_N[np.random.default_rng(seed).permutation(n_cells)[:most]] = True
    parts = list(_chosen(read, chosen_N))
    scores = [labeller.scores(counts_NG, size_N).probabilities_NC for counts_NG, size_N in parts]
    expression_NG = sparse.vstack([log1p_cp10k(*part) for part in parts]).toarray()
    return MeasuredCells(expression_NG, read.match.column_G >= 0, np.concatenate(scores))


def _chosen(read: CheckedCells, chosen_N: NDArray[np.bool_]) -> Iterator[tuple[sparse.csr_matrix, NDArray[np.float32]]]:
    start = 0
    for chunk in read.chunks(_CHUNK):
        counts_NG, size_N = chunk[0], chunk[1]
        own_N = chosen_N[start : start + len(size_N)]
        start += len(size_N)
        if own_N.any():
            yield counts_NG[own_N], size_N[own_N]


def trained_edges(bundle: Bundle, row: int) -> Edges:
    """The edges of a regulator as they were trained."""
    tensors = load_file(bundle.folder / BUNDLE.weights)
    own_J = tensors["regulator_J"] == row
    values = (tensors[f"activities.0.{name}_J"][own_J].astype(np.float64) for name in ("score", "slope", "weight"))
    return Edges(tensors["target_J"][own_J].astype(np.int64), *values)


def network_edges(network: Network, bundle: Bundle, regulator: str) -> Edges:
    """The edges of a regulator in an untrained network."""
    own = network.edges[(network.edges["regulator"] == regulator) & (network.edges["target"] != regulator)]
    position = pd.Index(bundle.vocabulary["gene"]).get_indexer(pd.Index(own["target"]))
    weight_J = np.where(own["sign"].astype(int) < 0, -1.0, 1.0) * own["confidence"].astype(float)
    zeros_J = np.zeros((position >= 0).sum())
    return Edges(position[position >= 0].astype(np.int64), zeros_J, zeros_J, np.asarray(weight_J)[position >= 0])


def measured_edges(edges: Edges, measured_G: NDArray[np.bool_]) -> Edges:
    """The edges to measured genes."""
    kept_J = measured_G[edges.target_J]
    target_J, score_J, slope_J, weight_J = edges
    return Edges(target_J[kept_J], score_J[kept_J], slope_J[kept_J], weight_J[kept_J])


def relative(cells: MeasuredCells, weights: LabelWeights) -> NDArray[np.floating]:
    """Standardised expression minus the cell's mean over measured genes, see `ActivityTransformer.relative`."""
    z_NG = ((cells.expression_NG - weights.mean_G) * weights.scale_G).clip(-CLIP, CLIP)
    open_G = cells.measured_G & (weights.scale_G > 0)
    return np.asarray((z_NG - z_NG[:, open_G].mean(axis=1, keepdims=True)) * open_G)


def fit_response(z_NG: NDArray[np.floating], edges: Edges, label_N: NDArray[np.integer], seed: int) -> Response:
    """Activities, and the slope of each target on the activity that does not see it, within labels.

    Args:
        z_NG: see `relative`.
        edges: of the regulator, at least two.
        label_N: label of each cell, whose means are left out.
        seed: seed of the half of the cells on which R2 is measured.
    """
    z_NJ = z_NG[:, edges.target_J].astype(np.float64)
    p_NJ = np.exp(np.minimum(edges.score_J + edges.slope_J * z_NJ, _LARGEST_SCORE))
    message_NJ, n_edges = p_NJ * edges.weight_J * z_NJ, len(edges.target_J)
    sum_N1, total_N1 = message_NJ.sum(axis=1, keepdims=True), p_NJ.sum(axis=1, keepdims=True)
    activity_N = (sum_N1 / total_N1).ravel() * np.sqrt(n_edges)
    other_NJ = (sum_N1 - message_NJ) / (total_N1 - p_NJ) * np.sqrt(n_edges - 1)
    x_NJ, y_NJ = (within(values_NJ, label_N) for values_NJ in (other_NJ, z_NJ))
    half_N = np.random.default_rng(seed).permutation(len(label_N)) % 2 == 0
    slope_J = _slopes(x_NJ[half_N], y_NJ[half_N])
    error, total = (y_NJ[~half_N] - x_NJ[~half_N] * slope_J) ** 2, y_NJ[~half_N] ** 2
    return Response(activity_N, _slopes(x_NJ, y_NJ), 1.0 - float(error.sum() / max(total.sum(), 1e-12)))


def within(values_NJ: NDArray[np.float64], label_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Values minus the mean of their label; 0 for the only cell of a label."""
    centred_NJ = values_NJ.copy()
    for label in np.unique(label_N):
        centred_NJ[label_N == label] -= values_NJ[label_N == label].mean(axis=0)
    return centred_NJ


def _slopes(x_NJ: NDArray[np.float64], y_NJ: NDArray[np.float64]) -> NDArray[np.float64]:
    square_J = (x_NJ**2).sum(axis=0)
    return np.divide((x_NJ * y_NJ).sum(axis=0), square_J, out=np.zeros_like(square_J), where=square_J > 1e-9)
