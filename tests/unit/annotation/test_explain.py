"""What the labels of a model rest on: contributions are exact, and markers and typical regulators come first."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_of

import sctransformer as sct
from sctransformer.annotation.explain import explain_types, near_names, type_contributions
from sctransformer.annotation.label_weights import read_label_weights
from sctransformer.annotation.regulators import TYPICAL
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import GENES, LABELS, simulated_cells

OLD_BUNDLE = Path(__file__).parents[2] / "golden" / "bundle-0.1.0"
NUMBERS = st.floats(-5, 5, width=32)


@pytest.fixture(scope="session")
def bundle(activity_bundle: Path) -> Bundle:
    return read_bundle(activity_bundle)


@given(
    array_of(np.float64, (6, 4), elements=NUMBERS),
    array_of(np.float64, (4, 6), elements=NUMBERS),
    st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_contributions_of_genes_add_up_to_the_difference_of_mean_logits(
    weight_GC: np.ndarray, mean_CG: np.ndarray, label: int
) -> None:
    contribution_G, _ = type_contributions(weight_GC, mean_CG, label)
    logits_CC = mean_CG @ weight_GC
    margin_C = logits_CC[:, label] - np.delete(logits_CC, label, axis=1).mean(axis=1)
    np.testing.assert_allclose(contribution_G.sum(), margin_C[label] - np.delete(margin_C, label).mean(), atol=1e-9)


def test_contributions_add_up_to_what_the_graph_predicts_for_the_training_cells(bundle: Bundle) -> None:
    cells = simulated_cells()
    log_NC = np.log(sct.load_model(bundle.folder).predict_proba(cells))
    by_type = log_NC.groupby(cells.obs["cell_type"].to_numpy()).mean()
    for row in explain_types(bundle).summary.itertuples():
        margin = by_type[row.cell_type] - by_type.drop(columns=row.cell_type).mean(axis=1)
        expected = margin[row.cell_type] - margin.drop(row.cell_type).mean()
        assert row.genes + row.activities == pytest.approx(expected, abs=2e-3)  # the means have five digits


def test_markers_come_first_and_the_table_has_their_means(bundle: Bundle) -> None:
    found = explain_types(bundle, top=5)
    assert found.summary["cell_type"].tolist() == LABELS
    for label, name in enumerate(LABELS):
        own = found.genes[found.genes["cell_type"] == name]
        assert len(own) == 5
        assert set(own["gene"]) <= set(GENES[label * 8 : label * 8 + 8])
        assert own["contribution"].is_monotonic_decreasing
        assert (own["mean"] > own["mean_others"]).all()
        np.testing.assert_allclose(own["contribution"], own["weight"] * (own["mean"] - own["mean_others"]))
    assert found.summary["listed_share"].between(0.2, 1.0).all()
    everything = explain_types(bundle, ["beta"], top=24)
    assert everything.summary["listed_share"].tolist() == [pytest.approx(1.0)]
    assert everything.genes["cell_type"].unique().tolist() == ["beta"]


def test_regulators_of_a_type_are_typical_of_it_and_named_with_the_targets_that_carry_them(bundle: Bundle) -> None:
    table, weights = bundle.regulators, read_label_weights(bundle)
    assert table is not None
    found = explain_types(bundle, ["alpha"]).regulators
    assert len(found)
    assert (found["difference"].abs() >= TYPICAL).all()
    assert found["difference"].abs().is_monotonic_decreasing
    row = found.iloc[0]
    means = table.set_index("regulator").loc[row["regulator"]]
    others = (means["mean:beta"] + means["mean:gamma"]) / 2
    assert row["difference"] == pytest.approx((means["mean:alpha"] - others) / means["std"])
    z = pd.Series(bundle.reference["profile"]["expression_by_label"]["alpha"]) - weights.mean_G
    position = table["regulator"].tolist().index(row["regulator"])
    edges = np.flatnonzero(weights.regulator_J == position)
    message = pd.Series(
        weights.weight_J[edges] * (z * weights.scale_G)[weights.target_J[edges]].to_numpy(),
        index=[GENES[target] for target in weights.target_J[edges]],
    ) * np.sign(row["difference"])
    assert row["top_targets"].split(", ") == message[message > 0].nlargest(5).index.tolist()


def test_regulators_that_do_not_beat_their_shuffles_are_left_out(bundle: Bundle) -> None:
    assert bundle.regulators is not None
    first = explain_types(bundle, ["alpha"]).regulators["regulator"].iloc[0]
    evidence = np.where(bundle.regulators["regulator"] == first, 0.5, 0.99)
    tested = replace(bundle, regulators=bundle.regulators.assign(evidence=evidence))
    found = explain_types(tested, ["alpha"])
    assert first not in found.regulators["regulator"].tolist()
    assert (found.regulators["evidence"] == 0.99).all()
    assert found.summary.equals(explain_types(bundle, ["alpha"]).summary)


@pytest.mark.parametrize(
    "without",
    [
        lambda table: None,
        lambda table: table[[name for name in table if not name.startswith("mean:")]],
    ],
)
def test_genes_are_explained_where_nothing_is_known_of_activities(
    bundle: Bundle, without: Callable[[pd.DataFrame], pd.DataFrame | None], caplog: pytest.LogCaptureFixture
) -> None:
    assert bundle.regulators is not None
    regulators = without(bundle.regulators)
    with caplog.at_level(logging.WARNING):
        found = explain_types(replace(bundle, regulators=regulators))
    assert len(found.genes)
    assert len(found.regulators) == 0
    assert ("regulators are not listed" in caplog.text) == (regulators is not None)


def test_a_model_that_cannot_be_explained_is_refused_with_the_reason(bundle: Bundle, bundle_folder: Path) -> None:
    for folder in (OLD_BUNDLE, bundle_folder):
        with pytest.raises(sct.UserError, match=r"not linear in expression \(model.direction is regulators\); train"):
            explain_types(read_bundle(folder))
    with pytest.raises(sct.UserError, match=r"reference.json: profile.expression_by_label lacks"):
        explain_types(replace(bundle, reference={"cells": 90}))
    with pytest.raises(sct.UserError, match="top is 0, expected at least 1"):
        explain_types(bundle, top=0)


def test_a_cell_type_that_does_not_exist_is_refused_with_similar_names(bundle: Bundle) -> None:
    with pytest.raises(sct.UserError, match=r"has no cell type 'Alfa'; did you mean alpha\?"):
        explain_types(bundle, ["Alfa"])
    with pytest.raises(sct.UserError, match="its cell types are alpha, beta, gamma"):
        explain_types(bundle, ["zzzzz"])
    assert near_names("CELL1", ["cell1", "other"]) == ["cell1"]
    by_label = {**bundle.reference["profile"]["expression_by_label"]}
    by_label.pop("beta")
    partial = replace(bundle, reference={"profile": {"expression_by_label": by_label}})
    assert explain_types(partial).summary["cell_type"].tolist() == ["alpha", "gamma"]
    with pytest.raises(sct.UserError, match="lacks 'beta', which has no training cells"):
        explain_types(partial, ["beta"])
