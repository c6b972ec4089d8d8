"""Held-out edges of a network: do targets vary with the mean of a regulator's other targets? No model is trained."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

HELD_OUT_SHARE = 0.2
"""Fraction of the edges that is held out."""
_EDGES = 4096
"""Edges that are correlated at a time."""


class Correlation(NamedTuple):
    """Mean correlation over held-out edges."""

    mean: float
    """0 without any edge."""
    edges: int
    own: float
    """The same with the regulator's own mRNA in place of the mean of its targets; regulators without one are left
    out."""


def held_out_correlation(
    weight_RG: sparse.csr_matrix, z_NG: NDArray[np.floating], own_NR: NDArray[np.floating], share: float, seed: int
) -> Correlation:
    """Hold out some edges, and correlate each of their targets with the signed mean of the regulator's other targets.

    Args:
        weight_RG: weights of the edges, regulators x genes.
        z_NG: standardised expression.
        own_NR: expression of the regulators' own genes; constant if it is not measured.
        share: fraction of the edges to hold out.
        seed: random seed of the choice.

    Returns:
        The mean of the correlation times the sign of the edge.
    """
    edges = weight_RG.tocoo()
    out_J = np.random.default_rng(seed).random(edges.nnz) < share
    kept = sparse.csr_matrix((edges.data[~out_J], (edges.row[~out_J], edges.col[~out_J])), shape=weight_RG.shape)
    activity_NR = unit_columns(np.asarray((scaled(kept) @ z_NG.T).T))
    unit_NG, own_NR = unit_columns(z_NG), unit_columns(own_NR)
    regulator_J, target_J, sign_J = edges.row[out_J], edges.col[out_J], np.sign(edges.data[out_J])
    found, own = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, len(sign_J), _EDGES):
        part = slice(start, start + _EDGES)
        target_NJ = unit_NG[:, target_J[part]] * sign_J[part]
        for values_NR, into in ((activity_NR, found), (own_NR, own)):
            values_NJ = values_NR[:, regulator_J[part]]
            known_J = values_NJ.any(axis=0)
            into.append((values_NJ * target_NJ).sum(axis=0)[known_J])
    values, by_own = np.concatenate(found), np.concatenate(own)
    return Correlation(
        float(values.mean()) if len(values) else 0.0, len(values), float(by_own.mean()) if len(by_own) else 0.0
    )


def scaled(weight_RG: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows with a sum of squares of 1."""
    square_R = np.asarray(weight_RG.multiply(weight_RG).sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags(1.0 / np.sqrt(np.maximum(square_R, 1e-12))) @ weight_RG)


def unit_columns(values_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns with mean 0 and length 1; a constant column is 0."""
    centred_NK = values_NK - values_NK.mean(axis=0, dtype=np.float64)
    length_K = np.sqrt((centred_NK**2).sum(axis=0))
    return np.divide(centred_NK, length_K, out=np.zeros_like(centred_NK), where=length_K > 1e-9)
