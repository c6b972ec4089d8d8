"""From edges to the attention bias. numpy only, for the model imports it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLOSED = -1e4
"""Bias of a closed pair. Finite: -inf and finfo.min mean different things to torch and onnxruntime."""
PRIOR_TENSOR = "prior_HGS"
"""Name of the prior in its safetensors file, which holds no tensor in the modes that use no edges."""


def allowed_pairs(edges: Iterable[tuple[str, str]], genes: Sequence[str], n_regulators: int) -> NDArray[np.bool_]:
    """Which gene may read which regulator.

    Args:
        edges: (regulator, target) pairs; those with an end outside `genes` are passed over.
        genes: the vocabulary, regulators first.
        n_regulators: how many of `genes` are regulators.

    Returns:
        allowed_GR: genes x regulators; row t, column r is True where the network has the edge r -> t.
    """
    position = {gene: index for index, gene in enumerate(genes)}
    allowed_GR = np.zeros((len(genes), n_regulators), dtype=bool)
    for regulator, target in edges:
        column, row = position.get(regulator), position.get(target)
        if column is not None and column < n_regulators and row is not None:
            allowed_GR[row, column] = True
    return allowed_GR


def mask_bias(allowed_GR: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The `mask` mode: open where the network has the edge, closed elsewhere, the sink open for every gene.

    Returns:
        bias_HGS: 1 x genes x (regulators + 1), the same for every head; the last column is the sink.
    """
    n_genes, n_regulators = allowed_GR.shape
    bias_HGS = np.zeros((1, n_genes, n_regulators + 1), dtype=np.float32)
    bias_HGS[0, :, :n_regulators] = np.where(allowed_GR, 0.0, CLOSED)
    return bias_HGS


def signed_weights(
    edges: Mapping[Any, Sequence[Any]], genes: Sequence[str], n_regulators: int, heads: int
) -> NDArray[np.float32]:
    """The `bias` mode: the confidence of each edge, activating and repressing ones on different heads.

    The first half of the heads (the larger half of an odd number) takes the activating edges, the other half the
    repressing ones; an edge whose sign is not known stands on all heads, and so does every edge of a single head.

    Args:
        edges: columns regulator, target, sign (1, -1, 0) and confidence; those with an end outside `genes` are passed
            over.
        genes: the vocabulary, regulators first.
        n_regulators: how many of `genes` are regulators.
        heads: attention heads.

    Returns:
        weight_HGS: heads x genes x (regulators + 1), 0 to 1; the last column, the sink's, is 0.
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
    """What a network adds to the attention scores in a mode of `sctransformer.model.ModelConfig`; None: nothing.

    Args as `signed_weights`.
    """
    if mode == "mask":
        pairs = zip(edges["regulator"], edges["target"], strict=True)
        return mask_bias(allowed_pairs(pairs, genes, n_regulators))
    if mode == "bias":
        return signed_weights(edges, genes, n_regulators, heads)
    return None
