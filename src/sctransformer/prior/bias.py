"""Attention bias from the edges of a network. Uses numpy only, because the model imports it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLOSED = -1e4
"""Bias of a masked pair. Finite, because torch and onnxruntime treat -inf and finfo.min differently."""
PRIOR_TENSOR = "prior_HGS"
"""Name of the prior in its safetensors file, which has no tensor in the modes that use no edges."""


def allowed_pairs(edges: Iterable[tuple[str, str]], genes: Sequence[str], n_regulators: int) -> NDArray[np.bool_]:
    """Pairs of gene and regulator between which attention is allowed.

    Args:
        edges: (regulator, target) pairs; edges with an end outside `genes` are ignored.
        genes: the panel, regulators first.
        n_regulators: number of regulators among `genes`.

    Returns:
        allowed_GR, genes x regulators: row t, column r is True if the network has the edge r -> t.
    """
    position = {gene: index for index, gene in enumerate(genes)}
    allowed_GR = np.zeros((len(genes), n_regulators), dtype=bool)
    for regulator, target in edges:
        column, row = position.get(regulator), position.get(target)
        if column is not None and column < n_regulators and row is not None:
            allowed_GR[row, column] = True
    return allowed_GR


def mask_bias(allowed_GR: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bias of the `mask` mode: 0 where the network has the edge and for the sink, -10,000 elsewhere.

    Returns:
        bias_HGS, 1 x genes x (regulators + 1), the same for all heads; the last column is the sink.
    """
    n_genes, n_regulators = allowed_GR.shape
    bias_HGS = np.zeros((1, n_genes, n_regulators + 1), dtype=np.float32)
    bias_HGS[0, :, :n_regulators] = np.where(allowed_GR, 0.0, CLOSED)
    return bias_HGS


def signed_weights(
    edges: Mapping[Any, Sequence[Any]], genes: Sequence[str], n_regulators: int, heads: int
) -> NDArray[np.float32]:
    """Weights of the `bias` mode: the confidence of each edge, activating and repressing edges on different heads.

    Activating edges are on the first half of the heads (the larger half of an odd number), repressing edges on the
    other half, and edges of unknown sign on all heads. With a single head, all edges are on it.

    Args:
        edges: columns regulator, target, sign (1, -1, 0) and confidence; edges with an end outside `genes` are ignored.
        genes: the panel, regulators first.
        n_regulators: number of regulators among `genes`.
        heads: number of attention heads.

    Returns:
        weight_HGS, heads x genes x (regulators + 1), 0 to 1; the last column, the sink, is 0.
    """
    weight_HGS = np.zeros((heads, len(genes), n_regulators + 1), dtype=np.float32)
    position = {gene: index for index, gene in enumerate(genes)}
    activating = -(-heads // 2)
    heads_of = {1: slice(0, activating), -1: slice(activating, heads), 0: slice(0, heads)}
    columns = (edges[name] for name in ("regulator", "target", "sign", "confidence"))
    for regulator, target, sign, confidence in zip(*columns, strict=True):
        column, row = position.get(regulator), position.get(target)
        if column is not None and column < n_regulators and row is not None:
            weight_HGS[heads_of[int(sign)] if heads > 1 else 0, row, column] = confidence
    return weight_HGS


def prior_matrix(
    mode: str, edges: Mapping[Any, Sequence[Any]], genes: Sequence[str], n_regulators: int, heads: int
) -> NDArray[np.float32] | None:
    """Matrix that the prior adds to the attention scores.

    Args:
        mode: a mode of `sctransformer.model.ModelConfig`.
        edges, genes, n_regulators, heads: see `signed_weights`.

    Returns:
        prior_HGS, see `mask_bias` and `signed_weights`; None for a mode without a prior.
    """
    if mode == "mask":
        pairs = zip(edges["regulator"], edges["target"], strict=True)
        return mask_bias(allowed_pairs(pairs, genes, n_regulators))
    if mode == "bias":
        return signed_weights(edges, genes, n_regulators, heads)
    return None
