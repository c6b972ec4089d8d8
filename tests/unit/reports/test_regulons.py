"""The edges of a model before and after training."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from sctransformer._constants import BUNDLE
from sctransformer.export.bundle import Bundle
from sctransformer.reports.regulons import edges_of, regulators_of


def test_edges_have_the_weights_of_the_network_and_of_the_model(bundle: Bundle) -> None:
    edges = edges_of(bundle)
    inside = bundle.prior[bundle.prior["target"].isin(bundle.genes)].drop_duplicates(["regulator", "target"])
    assert len(edges) == len(inside)
    table = edges.merge(inside, on=["regulator", "target"], suffixes=("", "_prior"))
    sign_J = np.where(table["sign_prior"] < 0, -1.0, 1.0)
    np.testing.assert_allclose(table["before"], sign_J * table["confidence_prior"], rtol=1e-6)
    numbers = load_file(bundle.folder / BUNDLE.weights)
    assert sorted(edges["after"]) == pytest.approx(sorted(numbers["activities.0.weight_J"].tolist()))
    assert not np.allclose(edges["before"], edges["after"])


def test_attention_adds_up_to_one_for_each_regulator(bundle: Bundle) -> None:
    np.testing.assert_allclose(edges_of(bundle).groupby("regulator")["attention"].sum(), 1.0)


def test_edges_are_ordered_by_weight_times_attention(bundle: Bundle) -> None:
    edges = edges_of(bundle)
    assert (edges["after"] * edges["attention"]).abs().is_monotonic_decreasing


def test_means_are_in_standard_deviations_of_the_training_cells(bundle: Bundle) -> None:
    regulators, table = regulators_of(bundle), bundle.regulators
    assert regulators is not None
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(regulators.mean_CR[0], (table["mean:alpha"] - table["mean"]) / table["std"])
