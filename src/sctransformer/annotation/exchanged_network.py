"""Labels of a model that would change if its activities came from another network, without training again."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.annotation.label_weights import LabelWeights
from sctransformer.annotation.regulators import least_targets
from sctransformer.annotation.target_response import (
    MeasuredCells,
    fit_response,
    measured_edges,
    network_edges,
    relative,
)
from sctransformer.export.bundle import Bundle
from sctransformer.prior.network import Network


def exchanged_labels(
    bundle: Bundle, weights: LabelWeights, cells: MeasuredCells, first: Network, second: Network
) -> pd.DataFrame:
    """Exchange the activities of the first network for those of the second in the label map of a model.

    Both are signed means of the targets in the panel, in standard deviations over these cells; a regulator with too few
    targets has its mean activity in all cells. The label map stays as it is: training again would fit another one.

    Args:
        bundle: a model of activities.
        weights: its label map.
        cells: cells, scored with the model.
        first, second: networks.

    Returns:
        One row per predicted cell type: cell_type, cells, changed (number of cells with another label).
    """
    assert bundle.regulators is not None
    z_NG, label_N = relative(cells, weights), cells.probabilities_NC.argmax(axis=1)
    logits_NC = np.log(np.maximum(cells.probabilities_NC.astype(np.float64), 1e-30))
    for row, (name, std) in enumerate(zip(bundle.regulators["regulator"], bundle.regulators["std"], strict=True)):
        if not len(weights.activity_RC) or not weights.activity_RC[row].any():
            continue
        before_N, after_N = (_standardised(bundle, one, str(name), cells, z_NG, label_N) for one in (first, second))
        logits_NC += (after_N - before_N)[:, None] * float(std) * weights.activity_RC[row]
    new_N, names = logits_NC.argmax(axis=1), bundle.labels["name"].tolist()
    rows = [
        (names[label], int((label_N == label).sum()), int((new_N[label_N == label] != label).sum()))
        for label in np.unique(label_N)
    ]
    return pd.DataFrame(rows, columns=["cell_type", "cells", "changed"])


def _standardised(
    bundle: Bundle,
    network: Network,
    regulator: str,
    cells: MeasuredCells,
    z_NG: NDArray[np.floating],
    label_N: NDArray[np.integer],
) -> NDArray[np.float64]:
    edges = measured_edges(network_edges(network, bundle, regulator), cells.measured_G)
    if len(edges.target_J) < max(2, least_targets(bundle)):
        return np.zeros(len(label_N))
    activity_N = fit_response(z_NG, edges, label_N, 0).activity_N
    spread = float(activity_N.std())
    return (activity_N - activity_N.mean()) / spread if spread > 0 else np.zeros(len(label_N))
