"""Initialization of the cell embedding with the principal components of expression, in closed form."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sctransformer.data.arrays import CellSource, take
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer

MAX_CELLS = 8192
"""Maximum number of cells from which the components are computed, sampled by seed: it bounds time and memory."""
BATCH_CELLS = 1024
_SAMPLE = (0, 2)
"""Key of the random numbers here, distinct from those of the phases."""


@torch.no_grad()
def init_from_pca(model: PriorBiasedTransformer, parts: Sequence[CellSource], seed: int) -> Tensor:
    """Set the readout so that the embedding of a fresh model is the leading principal components.

    Gradient descent on masked expression first learns this linear part, but from random weights it takes many epochs.
    Labels are not used. The score of each gene becomes its standardised expression, and the weights of the scores
    become the loadings of the components, scaled so that the leading component has unit variance: a penalty on the
    classifier then shrinks the components of low variance most.

    Args:
        model: with fresh weights, whose layers are the identity; changed in place.
        parts: the training cells.
        seed: random seed for the sampled cells.

    Returns:
        loading_EG: linear map from embeddings to standardised expression, for a decoder; rows beyond the number of
            components are zero.

    Raises:
        UserError: the expression of a cell is not finite.
    """
    readout, tokens = model.readout, model.tokens
    mean_G, covariance_GG, n_cells = _moments(model, parts, seed)
    if not covariance_GG.isfinite().all():
        raise UserError("training cells have counts or library sizes that are not finite; check the cells.")
    loading_GM, scale = _components(covariance_GG, min(model.config.embedding, n_cells - 1))
    loading_GE = torch.zeros(model.config.n_genes, model.config.embedding, dtype=torch.float64)
    loading_GE[:, : loading_GM.shape[1]] = loading_GM
    readout.score_GD.copy_(_value_directions(tokens.value_GD, tokens.identity_GD))
    readout.score_weight_GE.copy_(loading_GE * scale)
    readout.attended.bias.copy_(-(mean_G @ loading_GE) * scale)
    return (loading_GE / scale).T.to(readout.score_weight_GE)


def _moments(model: PriorBiasedTransformer, parts: Sequence[CellSource], seed: int) -> tuple[Tensor, Tensor, int]:
    """Mean and covariance of standardised expression over sampled cells, and their number."""
    tokens, n_genes = model.tokens, model.config.n_genes
    device = tokens.value_GD.device
    rows = np.sort(np.random.default_rng((seed, *_SAMPLE)).permutation(sum(map(len, parts)))[:MAX_CELLS])
    sum_G = torch.zeros(n_genes, dtype=torch.float64)
    square_GG = torch.zeros(n_genes, n_genes, dtype=torch.float64)
    for start in range(0, len(rows), BATCH_CELLS):
        cells = take(parts, rows[start : start + BATCH_CELLS])
        counts_NG = torch.as_tensor(cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(cells.library_size_N, device=device)
        z_NG = tokens.standardised(counts_NG, library_size_N).cpu().double()
        sum_G += z_NG.sum(dim=0)
        square_GG += z_NG.T @ z_NG
    mean_G = sum_G / len(rows)
    return mean_G, square_GG / len(rows) - torch.outer(mean_G, mean_G), len(rows)


def _components(covariance_GG: Tensor, max_components: int) -> tuple[Tensor, float]:
    """Loadings of the leading components, genes x components, and the factor that scales the first to unit variance."""
    variance_G, loading_GG = torch.linalg.eigh(covariance_GG)
    kept = min(max_components, int((variance_G > 1e-6).sum()))
    loading_GM = loading_GG.flip(1)[:, :kept]
    sign_M = torch.sign(loading_GM.gather(0, loading_GM.abs().argmax(dim=0, keepdim=True)))  # eigh leaves it open
    return loading_GM * sign_M, float(variance_G[-1]) ** -0.5 if kept else 1.0


def _value_directions(value_GD: Tensor, identity_GD: Tensor) -> Tensor:
    """Directions whose inner product with a token `identity + z * value` is z, genes x width."""
    overlap_G = (value_GD * identity_GD).sum(dim=1, keepdim=True)
    away_GD = value_GD - identity_GD * overlap_G / identity_GD.square().sum(dim=1, keepdim=True).clamp(min=1e-6)
    return away_GD / (away_GD * value_GD).sum(dim=1, keepdim=True).clamp(min=1e-6)
