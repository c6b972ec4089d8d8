"""Labels that depend on the network, without training again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sctransformer.annotation.exchanged_network import exchanged_labels
from sctransformer.annotation.label_weights import LabelWeights, read_label_weights
from sctransformer.annotation.target_response import MeasuredCells
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.prior.network import Network
from tests.conftest import arrays, expression, simulated_cells


@pytest.fixture(scope="module")
def bundle(activity_bundle: Path) -> Bundle:
    return read_bundle(activity_bundle)


@pytest.fixture(scope="module")
def cells() -> MeasuredCells:
    found = arrays(simulated_cells(90, seed=2))
    probabilities_NC = np.full((90, 3), 0.3)
    probabilities_NC[np.arange(90), found.labels_N] = 0.4
    return MeasuredCells(expression(found), np.ones(24, dtype=bool), probabilities_NC)


def changed(bundle: Bundle, weights: LabelWeights, cells: MeasuredCells, second: pd.DataFrame) -> int:
    networks = Network(bundle.prior.assign(sources="")), Network(second.assign(sources=""))
    table = exchanged_labels(bundle, weights, cells, *networks)
    assert table["cells"].sum() == 90
    return int(table["changed"].sum())


def test_labels_depend_on_the_network_if_they_read_activities(bundle: Bundle, cells: MeasuredCells) -> None:
    weights = read_label_weights(bundle)
    reading = replace(weights, activity_RC=np.eye(*weights.activity_RC.shape) * 5.0)
    opposite = bundle.prior.assign(sign=-1)
    assert changed(bundle, reading, cells, bundle.prior) == 0
    assert changed(bundle, reading, cells, opposite) > 0
    assert changed(bundle, reading, cells, opposite.iloc[:0]) > 0
    without = replace(weights, activity_RC=np.zeros_like(weights.activity_RC))
    assert changed(bundle, without, cells, opposite) == 0
