"""The scoring benchmark: every method labels the same cells, and the methods that run the model agree."""

import json
from pathlib import Path

import anndata
import numpy as np
import pytest

from pipelines.speed import scoring, synthetic
from sctransformer._constants import OBS
from sctransformer.params import Params, with_overrides

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["targets", "regulators"])
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A few cells and a small bundle over half their genes, of a model of each direction."""
    path = tmp_path_factory.mktemp("speed")
    cells = synthetic.draw_cells(150, 96)
    cells.write_h5ad(path / scoring.CELLS)
    sizes = {"width": 8, "heads": 2, "feedforward": 8, "readout_heads": 2, "embedding": 8}
    params = Params.model_validate({"model": {"direction": request.param} | sizes})
    synthetic.draw_bundle(cells, params, path / scoring.BUNDLE, panel_genes=48)
    return path


def test_every_method_labels_every_cell_and_those_of_the_model_agree(folder: Path) -> None:
    labels = {name: make(folder)() for name, make in scoring.METHODS.items()}
    assert len(labels["onnxruntime"]) == 150
    assert len(np.unique(labels["onnxruntime"])) > 1
    assert (labels["torch"] == labels["onnxruntime"]).all()
    written = anndata.read_h5ad(labels["annotate_file"].output)
    assert (written.obs["predicted_labels"].astype(str) == [f"type{label}" for label in labels["torch"]]).all()
    assert (labels["celltypist"] == written.obs[OBS.cell_type].astype(str)).mean() > 0.9


def test_annotation_is_repeated_in_full(folder: Path) -> None:
    annotate = scoring.METHODS["annotate_file"](folder)
    assert [annotate().unchanged for _ in range(2)] == [False, False]


def test_results_are_plain_values_with_ratios_to_celltypist() -> None:
    params = with_overrides(Params(), ["model.width=8", "model.heads=2", "model.mode=bias"])
    assert (params.model.width, params.model.mode) == (8, "bias")
    measured = scoring.measure(70, 64, 32, params, repeats=1, memory=False)
    assert json.loads(json.dumps(measured)) == measured
    assert measured["of_celltypists_time"]["celltypist"] == 1.0
    rates = measured["cells_per_s"]
    assert list(rates) == list(scoring.METHODS)
    assert min(rates.values()) > 0
    expected = rates["celltypist"] / rates["torch"]
    assert measured["of_celltypists_time"]["torch"] == pytest.approx(expected, rel=0.05)
