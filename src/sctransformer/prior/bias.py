"""From edges to the attention bias. numpy only, for the model imports it."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

CLOSED = -1e4
"""Bias of a closed pair. Finite: -inf and finfo.min mean different things to torch and onnxruntime."""


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
