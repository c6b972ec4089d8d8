"""The benchmark of scoring measures what it says: every way labels the same cells, and the model's ways agree."""

import json
from pathlib import Path

import anndata
import numpy as np
import pytest

from pipelines.speed import scoring, synthetic
from sctransformer._constants import OBS
from sctransformer.params import ModelParams, Params, with_overrides

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few cells and a small bundle over half their genes."""
    path = tmp_path_factory.mktemp("speed")
    cells = synthetic.draw_cells(150, 96)
    cells.write_h5ad(path / scoring.CELLS)
    model = ModelParams(width=8, heads=2, feedforward=8, readout_heads=2, embedding=8)
    synthetic.draw_bundle(cells, Params(model=model), path / scoring.BUNDLE, panel_genes=48)
    return path


def test_every_way_labels_every_cell_and_the_models_agree(folder: Path) -> None:
    said = {name: make(folder)() for name, make in scoring.WAYS.items()}
    assert len(said["onnxruntime"]) == 150
    assert len(np.unique(said["onnxruntime"])) > 1
    assert (said["torch"] == said["onnxruntime"]).all()
    written = anndata.read_h5ad(said["annotate_file"].output)
    assert (written.obs["predicted_labels"].astype(str) == [f"type{label}" for label in said["torch"]]).all()
    assert (said["celltypist"] == written.obs[OBS.cell_type].astype(str)).mean() > 0.9


def test_annotation_does_all_of_its_work_every_time(folder: Path) -> None:
    annotate = scoring.WAYS["annotate_file"](folder)
    assert [annotate().unchanged for _ in range(2)] == [False, False]


def test_time_is_measured_in_turns(folder: Path) -> None:
    seconds = scoring.seconds_in_turns(folder, repeats=1)
    assert list(seconds) == list(scoring.WAYS)
    assert min(seconds.values()) > 0


def test_figures_are_plain_values_and_ratios_are_to_celltypist() -> None:
    params = with_overrides(Params(), ["model.width=8", "model.heads=2", "model.mode=bias"])
    assert (params.model.width, params.model.mode) == (8, "bias")
    figures = scoring.measure(70, 64, 32, params, repeats=1, memory=False)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["of_celltypists_time"]["celltypist"] == 1.0
    rates = figures["cells_per_s"]
    expected = rates["celltypist"] / rates["torch"]
    assert figures["of_celltypists_time"]["torch"] == pytest.approx(expected, rel=0.05)
