"""The table of regulators, and which are active in which type."""

import numpy as np
import pandas as pd
import pytest
import torch

from sctransformer.evaluation.regulators import (
    correlation,
    regulator_table,
    spread_of_means,
    top_regulators,
    type_statistics,
)
from tests.conftest import LABELS, arrays, simulated_cells
from tests.regulated_cells import edges_of_panel, small_activity_model


def test_an_untrained_model_agrees_with_the_signed_mean_of_the_targets() -> None:
    table = regulator_table(small_activity_model(), arrays(simulated_cells()))
    edges = edges_of_panel()
    assert table["regulator"].tolist() == edges.regulators
    assert table["targets"].tolist() == np.bincount(edges.regulator_J).tolist()
    assert (table["departure"] == 0).all()
    assert (table["agreement"] > 0.999).all()


def test_changed_weights_depart_from_the_network() -> None:
    model = small_activity_model()
    with torch.no_grad():
        model.activities[-1].weight_J.mul_(-1.0)
    table = regulator_table(model, arrays(simulated_cells()))
    assert (table["departure"] > 0).all()
    assert (table["agreement"] < -0.999).all()


def test_the_most_active_regulators_of_a_type_are_listed_first() -> None:
    cells, model = arrays(simulated_cells()), small_activity_model()
    found = top_regulators(model, cells, LABELS, count=2)
    assert list(found) == LABELS
    for label, name in enumerate(LABELS):
        differences = [one["difference"] for one in found[name]]
        assert differences == sorted(differences, reverse=True)
        assert all(difference > 0 for difference in differences)
        first = found[name][0]
        z_NG = model.tokens.standardised(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))
        activity_NR = model.activity(z_NG).T.detach().numpy()
        inside_N = cells.labels_N == label
        index = model.edges.regulators.index(first["regulator"])
        change = activity_NR[inside_N, index].mean() - activity_NR[~inside_N, index].mean()
        np.testing.assert_allclose(first["difference"], change / activity_NR[:, index].std(), atol=1e-3)


def test_only_regulators_that_beat_shuffled_networks_are_listed() -> None:
    cells, model = arrays(simulated_cells()), small_activity_model()
    names = model.edges.regulators
    every = top_regulators(model, cells, LABELS)
    listed = {one["regulator"] for found in every.values() for one in found}
    dropped = sorted(listed)[0]
    evidence = pd.Series([0.94 if name == dropped else 0.95 for name in names])
    found = top_regulators(model, cells, LABELS, evidence)
    assert {one["regulator"] for own in found.values() for one in own} == listed - {dropped}
    none = top_regulators(model, cells, LABELS, pd.Series(np.full(len(names), np.nan)))
    assert not any(none.values())


def test_a_type_without_cells_has_no_regulators() -> None:
    assert list(top_regulators(small_activity_model(), arrays(simulated_cells()), [*LABELS, "absent"])) == LABELS


def test_the_mean_activity_of_each_type_is_that_of_its_cells() -> None:
    cells, model = arrays(simulated_cells()), small_activity_model()
    found = type_statistics(model, cells, [*LABELS, "absent"])
    assert found.columns.tolist() == [f"{kind}:{name}" for name in (*LABELS, "absent") for kind in ("mean", "std")]
    own = cells.take(np.flatnonzero(cells.labels_N == 1))
    z_NG = model.tokens.standardised(torch.from_numpy(own.counts_NG), torch.from_numpy(own.library_size_N))
    activity_RN = model.activity(z_NG).detach().numpy()
    np.testing.assert_allclose(found["mean:beta"], activity_RN.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(found["std:beta"], activity_RN.std(axis=1), atol=1e-5)
    assert found[["mean:absent", "std:absent"]].isna().all(axis=None)


def test_the_spread_between_donors_is_without_what_chance_explains() -> None:
    rng = np.random.default_rng(0)
    donor_N = np.repeat(np.array([f"donor{number}" for number in range(40)], dtype=object), 25)
    activity_NR = rng.normal(size=(1000, 2))
    activity_NR[:, 1] += np.repeat(rng.normal(size=40) * 2.0, 25)
    alike, different = spread_of_means(activity_NR, donor_N)
    assert alike < 0.15
    assert different == pytest.approx(2.0, rel=0.3)
    assert np.isnan(spread_of_means(activity_NR[:60], donor_N[:60])).all()


def test_the_correlation_of_a_constant_is_not_a_number() -> None:
    values = np.array([[1.0, 2.0], [1.0, 5.0], [1.0, 3.0]])
    found = correlation(values, values)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1], 1.0)
