"""The labels of a model, fitted again on all labelled cells: what changes, what stays, and which graph is compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData

from sctransformer._constants import BUNDLE
from sctransformer.annotation.session import ScoringSession
from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.evaluation.scoring import score_cells
from sctransformer.export.bundle import read_bundle, write_bundle
from sctransformer.export.graph import ScoringGraph, export_onnx
from sctransformer.model import ActivityTransformer
from sctransformer.params import Params
from sctransformer.pipeline.refit import Refit, refit_labels
from sctransformer.registry.rescoring import predict_labels
from sctransformer.training.closed_form import fit_closed_form
from tests.conftest import LABELS, arrays, simulated_cells
from tests.regulated_cells import activity_contents, small_activity_model

PARAMS = Params.model_validate({"labels": {"components": [6], "folds": 3}})


def few_cells() -> AnnData:
    """Cells with so few counts that some labels are wrong."""
    cells = simulated_cells(120, seed=3)
    cells.X.data = np.random.default_rng(0).binomial(cells.X.data.astype(int), 0.08).astype(np.float32)
    return cells


@pytest.fixture(scope="module")
def evaluated() -> ActivityTransformer:
    """A model whose labels were fitted on 60 of 120 cells."""
    model = small_activity_model()
    fit_closed_form(model, TrainingCells(arrays(few_cells()).take(np.arange(60))), LABELS, PARAMS.labels, 0)
    return model


@pytest.fixture(scope="module")
def cells() -> CellArrays:
    return arrays(few_cells())


@pytest.fixture(scope="module")
def refit(evaluated: ActivityTransformer, cells: CellArrays) -> Refit:
    return refit_labels(evaluated, TrainingCells(cells), LABELS, PARAMS)


def test_labels_are_those_of_a_fit_on_all_cells_and_attention_stays(
    evaluated: ActivityTransformer, refit: Refit, cells: CellArrays
) -> None:
    before = {name: value.clone() for name, value in evaluated.state_dict().items()}
    whole = small_activity_model()
    fit_closed_form(whole, TrainingCells(cells), LABELS, PARAMS.labels, 0)
    ours, theirs = refit.model.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(value, before[name]) for name, value in evaluated.state_dict().items())
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], ours[name])}
    assert changed == {"classifier", "components_GE"}


def test_the_calibration_predicts_each_cell_without_itself(refit: Refit, cells: CellArrays) -> None:
    """The model itself is surer of the cells that it was fitted on, and more often right."""
    own_NC = score_cells(refit.model, cells)[0] / refit.calibration["temperature"]
    own_N = torch.softmax(torch.from_numpy(own_NC), dim=1).numpy().max(axis=1)
    assert refit.calibration["cells"] == "cross-validation"
    assert refit.summary["cells"] == 120
    assert refit.summary["accuracy"] < (own_NC.argmax(axis=1) == cells.labels_N).mean()
    assert refit.confidence_N.mean() < own_N.mean()
    assert (refit.confidence_N < refit.calibration["rejection_threshold"]).mean() == pytest.approx(
        refit.calibration["rejected_share"]
    )


def test_folds_hold_whole_donors(evaluated: ActivityTransformer, refit: Refit, cells: CellArrays) -> None:
    donors_N = np.array([f"donor {index // 24}" for index in range(120)], dtype=object)
    found = refit_labels(evaluated, TrainingCells(cells), LABELS, PARAMS, donors_N)
    assert found.labels["folds_by_group"]
    assert not np.array_equal(found.confidence_N, refit.confidence_N)


def test_the_only_cell_of_a_type_has_no_part_in_the_calibration(
    evaluated: ActivityTransformer, cells: CellArrays
) -> None:
    """It is in the training cells of every fold, so nothing predicts it without itself."""
    kept_N = np.flatnonzero((cells.labels_N != 2) | (np.arange(120) == 2))
    found = refit_labels(evaluated, TrainingCells(cells.take(kept_N)), LABELS, PARAMS)
    assert np.isnan(found.confidence_N).sum() == 1
    assert found.summary["cells"] == len(kept_N)
    assert 0 < found.calibration["temperature"] < 20


@pytest.mark.slow
def test_comparisons_on_test_cells_use_the_evaluated_model(
    evaluated: ActivityTransformer, refit: Refit, tmp_path: Path
) -> None:
    """A bundle holds both; `annotate` uses the other one."""
    graph = ScoringGraph(evaluated, temperature=1.0)
    contents = replace(
        activity_contents(refit.model, tmp_path),
        write_evaluated_graph=lambda path: export_onnx(graph, path, opset=23, along_edges=True),
    )
    write_bundle(tmp_path / "bundle", contents)
    bundle = read_bundle(tmp_path / "bundle")
    cells = few_cells()[60:].copy()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    expected = score_cells(evaluated, arrays(cells))[0].argmax(axis=1)
    others = score_cells(refit.model, arrays(cells))[0].argmax(axis=1)
    assert not np.array_equal(expected, others)
    assert predict_labels(bundle, tmp_path / "cells.h5ad") == [LABELS[label] for label in expected]
    assert ScoringSession(bundle, evaluated=True).graph == BUNDLE.evaluated_graph
    assert ScoringSession(bundle).graph == BUNDLE.edges_graph
