"""Simulated activities of a regulator: targets and labels follow, beside rewired networks."""

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.annotation.label_weights import read_label_weights
from sctransformer.annotation.model import Model
from sctransformer.annotation.perturbation import Simulation, require_regulator, simulate
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.target_response import (
    Edges,
    MeasuredCells,
    fit_response,
    measured_cells,
    relative,
    trained_edges,
)
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import GENES, simulated_cells


@pytest.fixture(scope="module")
def bundle(activity_bundle: Path) -> Bundle:
    return read_bundle(activity_bundle)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = simulated_cells(200, seed=8)
    cells.obs[OBS.library_size] = np.asarray(cells.X.sum(axis=1)).ravel()
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def cells(bundle: Bundle, file: Path) -> MeasuredCells:
    with open_cells(file, bundle.vocabulary) as opened:
        read = check_cells(opened, bundle.vocabulary)
        labeller = Model(bundle, "m", "1").scorer(Scoring(regulators="top")).labeller(read)
        return measured_cells(read, labeller, 10_000, 0)


def simulated(bundle: Bundle, cells: MeasuredCells, activate: bool = False) -> Simulation:
    return simulate(bundle, read_label_weights(bundle), cells, "GENE1", activate=activate)


def test_activities_are_those_of_the_graph(bundle: Bundle, cells: MeasuredCells, file: Path) -> None:
    adata: AnnData = anndata.read_h5ad(file)
    expected = Model(bundle, "m", "1").activities(adata)
    weights, labels_N = read_label_weights(bundle), cells.probabilities_NC.argmax(axis=1)
    assert bundle.regulators is not None
    for row, name in enumerate(bundle.regulators["regulator"]):
        if expected[name].notna().all():
            found = fit_response(relative(cells, weights), trained_edges(bundle, row), labels_N, 0)
            np.testing.assert_allclose(found.activity_N, expected[name], atol=1e-4)


def test_a_knock_out_moves_the_targets_down_and_an_activation_moves_them_up(
    bundle: Bundle, cells: MeasuredCells
) -> None:
    low, high = simulated(bundle, cells), simulated(bundle, cells, activate=True)
    assert low.after < low.before < high.after
    assert low.after <= -2 + 1e-6
    changes = low.genes.set_index("gene")["change"], high.genes.set_index("gene")["change"]
    assert set(changes[0].index) <= set(GENES)
    assert (np.sign(changes[0]) * np.sign(changes[1].reindex(changes[0].index)) <= 0).all()
    assert len(low.r2_rewired) == len(low.size_rewired) == len(low.changed_rewired) == 20
    assert low.types["cells"].sum() == len(cells.expression_NG)
    assert low.changed == pytest.approx((low.types["changed"] * low.types["cells"]).sum() / len(cells.expression_NG))


def test_no_change_of_the_activity_changes_nothing(bundle: Bundle, cells: MeasuredCells) -> None:
    assert bundle.regulators is not None
    beyond = replace(bundle, regulators=bundle.regulators.assign(mean=1e3))
    found = simulated(beyond, cells)
    assert found.changed == 0.0
    assert (found.genes["change"] == 0).all()


def test_targets_that_follow_a_regulator_are_explained_and_random_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    z_NG = rng.normal(size=(600, 20))
    z_NG[:, :10] += rng.normal(size=(600, 1)) * np.array([1.0, -1.0] * 5)
    zeros = np.zeros(10)
    labels_N = rng.integers(0, 3, 600)
    own = fit_response(z_NG, Edges(np.arange(10), zeros, zeros, np.array([1.0, -1.0] * 5)), labels_N, 0)
    other = fit_response(z_NG, Edges(np.arange(10, 20), zeros, zeros, np.ones(10)), labels_N, 0)
    assert own.r2 > 0.3
    assert (np.sign(own.slope_J) == [1, -1] * 5).all()
    assert other.r2 < 0.02


def test_differences_between_labels_are_not_responses() -> None:
    rng = np.random.default_rng(0)
    labels_N = np.repeat([0, 1], 400)
    z_NG = rng.normal(size=(800, 10)) + 2.0 * labels_N[:, None]
    zeros = np.zeros(10)
    assert fit_response(z_NG, Edges(np.arange(10), zeros, zeros, np.ones(10)), labels_N, 0).r2 < 0.02


def with_evidence(bundle: Bundle, evidence: float) -> Bundle:
    assert bundle.regulators is not None
    return replace(bundle, regulators=bundle.regulators.assign(evidence=evidence))


def test_a_regulator_that_does_not_beat_rewired_networks_is_refused(bundle: Bundle) -> None:
    assert require_regulator(with_evidence(bundle, 0.95), "GENE1") == ""
    with pytest.raises(UserError, match=r"GENE1: its evidence against rewired networks is 0.40.*--force"):
        require_regulator(with_evidence(bundle, 0.4), "GENE1")
    assert "do not interpret" in require_regulator(with_evidence(bundle, 0.4), "GENE1", force=True)
    with pytest.raises(UserError, match="was not measured"):
        require_regulator(bundle, "GENE1")


def test_what_cannot_be_simulated_is_refused_in_one_sentence(
    bundle: Bundle, bundle_folder: Path, cells: MeasuredCells
) -> None:
    with pytest.raises(UserError, match=r"has no regulator 'GENE11'; did you mean GENE1"):
        require_regulator(bundle, "GENE11")
    with pytest.raises(UserError, match="has no activities of regulators"):
        require_regulator(read_bundle(bundle_folder), "GENE1")
    with pytest.raises(UserError, match=r"model.depth is 2"):
        require_regulator(replace(bundle, config=bundle.config | {"depth": 2}), "GENE1")
    few = MeasuredCells(cells.expression_NG[:3], cells.measured_G, cells.probabilities_NC[:3])
    with pytest.raises(UserError, match="expected at least 50 and two of a label"):
        simulated(bundle, few)
    unmeasured = cells._replace(measured_G=np.zeros_like(cells.measured_G))
    with pytest.raises(UserError, match="0 targets measured"):
        simulated(bundle, unmeasured)


def test_a_label_with_one_cell_changes_no_slope(bundle: Bundle, cells: MeasuredCells) -> None:
    probabilities_NC = cells.probabilities_NC.copy()
    label = probabilities_NC[0].argmax()
    kept_N = probabilities_NC.argmax(axis=1) != label
    kept_N[0] = True
    one = MeasuredCells(cells.expression_NG[kept_N], cells.measured_G, probabilities_NC[kept_N])
    found = simulated(bundle, one)
    assert found.types.set_index("cell_type")["cells"].min() == 1
    assert np.isfinite(found.genes["change"]).all()
    assert isinstance(found.genes, pd.DataFrame)
