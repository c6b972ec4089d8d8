"""Whether the genes that explain labels decide them: confidence falls faster without them than without others."""

from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

import sctransformer as sct
from sctransformer.annotation.explain import Explanation, explain_types
from sctransformer.annotation.faithfulness import DeletionCurve, deletion_curve, log_odds, matched, top_genes
from sctransformer.annotation.model import Model, checked_settings
from tests.conftest import GENES


@pytest.fixture(scope="session")
def model(activity_bundle: Path) -> Model:
    return sct.load_model(activity_bundle)


def curve_of(model: Model, cells: AnnData, explained: Explanation) -> DeletionCurve:
    chosen = checked_settings(regulators="off", min_coverage=0.0)
    read = model._read(cells, chosen)
    labeller = model.scorer(chosen.scoring).labeller(read)
    return deletion_curve(model.bundle, read, labeller, model.limits(read, chosen), explained)


def test_top_genes_decide_labels_and_random_genes_do_not(model: Model, cells: AnnData) -> None:
    curve = curve_of(model, cells, explain_types(model.bundle, top=24))
    assert curve.cells > 60
    assert curve.numbers == [0, 1, 2, 5, 8]
    assert (
        curve.top[0]
        == curve.random[0]
        == pytest.approx(
            float(
                log_odds(model.predict_proba(cells).to_numpy(), model.predict_proba(cells).to_numpy().argmax(1)).mean()
            ),
            abs=0.2,  # unknown cells are left out
        )
    )
    assert (np.diff(curve.top) < 0).all()
    assert curve.top[-1] < curve.random[-1]
    assert 0 < curve.low < curve.area < curve.high


def test_genes_that_do_not_explain_labels_are_no_better_than_random_ones(model: Model, cells: AnnData) -> None:
    explained = explain_types(model.bundle, top=24)
    last = explained.genes.groupby("cell_type").tail(8)
    curve = curve_of(model, cells, explained._replace(genes=last))
    assert curve.area < curve_of(model, cells, explained).low


def test_the_curve_is_the_same_each_time_and_uses_measured_genes_only(model: Model, cells: AnnData) -> None:
    explained = explain_types(model.bundle, top=24)
    part = cells[:, [*GENES[2:8], *GENES[10:24]]].copy()
    assert curve_of(model, part, explained) == curve_of(model, part, explained)
    measured_G = np.isin(GENES, part.var_names)
    for top in top_genes(model.bundle, explained, measured_G).values():
        assert measured_G[top].all()
        assert len(top) <= measured_G.sum() // 3


def test_cells_without_labels_are_refused(model: Model, cells: AnnData) -> None:
    cells.X = cells.X * 0
    with pytest.raises(sct.UserError, match="none of 90 cells has a label with at least two explaining genes"):
        curve_of(model, cells, explain_types(model.bundle))


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_random_genes_are_distinct_measured_and_of_equal_mean_expression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean_G, measured_G = np.sort(rng.random(200)), rng.random(200) < 0.8
    top = rng.choice(np.flatnonzero(measured_G), 20, replace=False)
    found = matched(top, mean_G, measured_G, rng)
    assert len(set(found.tolist())) == 20
    assert not set(found.tolist()) & set(top.tolist())
    assert measured_G[found].all()
    assert np.abs(mean_G[found] - mean_G[top]).max() < 0.2


def test_log_odds_are_finite_for_certain_labels() -> None:
    probabilities_NC = np.array([[1.0, 0.0], [0.25, 0.75]], dtype=np.float32)
    found = log_odds(probabilities_NC, np.array([0, 1]))
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx(np.log(3))
