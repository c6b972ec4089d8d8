"""Where training begins: a cell embedding that is the principal components of expression, in closed form."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sctransformer.data.arrays import CellSource, take
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer

MOST_CELLS = 8192
"""Cells from which the components are computed, drawn by seed: they need no more, and time and memory stay bounded."""
CELLS_AT_A_TIME = 1024
_DRAW = (0, 2)
"""Keys of the random numbers here apart from those of the phases."""


@torch.no_grad()
def start_from_principal_components(model: PriorBiasedTransformer, parts: Sequence[CellSource], seed: int) -> Tensor:
    """Set the readout so that the embedding of a fresh model is the leading principal components.

    What gradient descent on masked expression learns first is the linear part, principal components of standardised
    expression; from random weights that takes it many epochs, and an eigendecomposition gives it at once. No label is
    looked at, so labelled and unlabelled cells count alike. The score of each gene becomes its standardised
    expression, and the weights of the scores become the loadings of the components, scaled so
    that the leading one has unit variance: a penalty on the classifier then weighs most on what varies least.

    Args:
        model: with fresh weights, whose layers start as the identity; changed in place.
        parts: the cells to train on.
        seed: of the cells drawn.

    Returns:
        loading_EG: what maps embeddings back to standardised expression, for a decoder; rows beyond the number of
            components are zero.

    Raises:
        UserError: the expression of a cell is no finite number.
    """
    tokens, readout = model.tokens, model.readout
    device = tokens.value_GD.device
    n_cells = sum(map(len, parts))
    rows = np.sort(np.random.default_rng((seed, *_DRAW)).permutation(n_cells)[:MOST_CELLS])
    n_genes = model.config.n_genes
    sum_G = torch.zeros(n_genes, dtype=torch.float64)
    square_GG = torch.zeros(n_genes, n_genes, dtype=torch.float64)
    for start in range(0, len(rows), CELLS_AT_A_TIME):
        cells = take(parts, rows[start : start + CELLS_AT_A_TIME])
        counts_NG = torch.as_tensor(cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(cells.library_size_N, device=device)
        z_NG = tokens.standardised(counts_NG, library_size_N).cpu().double()
        sum_G += z_NG.sum(dim=0)
        square_GG += z_NG.T @ z_NG
    mean_G = sum_G / len(rows)
    covariance_GG = square_GG / len(rows) - torch.outer(mean_G, mean_G)
    if not covariance_GG.isfinite().all():
        raise UserError("the training cells hold counts or library sizes that are no finite numbers; check the cells.")
    loading_GK, scale = _components(covariance_GG, min(model.config.embedding, len(rows) - 1))

    loading_GE = torch.zeros(n_genes, model.config.embedding, dtype=torch.float64)
    loading_GE[:, : loading_GK.shape[1]] = loading_GK
    readout.score_GD.copy_(_reading(tokens.value_GD, tokens.identity_GD))
    readout.score_weight_GE.copy_(loading_GE * scale)
    readout.attended.bias.copy_(-(mean_G @ loading_GE) * scale)
    return (loading_GE / scale).T.to(readout.score_weight_GE)


def _components(covariance_GG: Tensor, most: int) -> tuple[Tensor, float]:
    """Loadings of the leading components, genes x components, and what gives the scores of the first unit variance."""
    variance_G, loading_GG = torch.linalg.eigh(covariance_GG)
    kept = min(most, int((variance_G > 1e-6).sum()))
    loading_GK = loading_GG.flip(1)[:, :kept]
    sign_K = torch.sign(loading_GK.gather(0, loading_GK.abs().argmax(dim=0, keepdim=True)))  # which eigh leaves open
    return loading_GK * sign_K, float(variance_G[-1]) ** -0.5 if kept else 1.0


def _reading(value_GD: Tensor, identity_GD: Tensor) -> Tensor:
    """Directions along which a token `identity + z * value` reads as z, whatever the identity, genes x width."""
    overlap_G = (value_GD * identity_GD).sum(dim=1, keepdim=True)
    away_GD = value_GD - identity_GD * overlap_G / identity_GD.square().sum(dim=1, keepdim=True).clamp(min=1e-6)
    return away_GD / (away_GD * value_GD).sum(dim=1, keepdim=True).clamp(min=1e-6)
