"""The report of a training, from its outputs or from its bundle alone."""

import json
from pathlib import Path

import pytest

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.reports.page import render
from sctransformer.reports.sources import report_of
from sctransformer.reports.training import in_outputs, report_of_bundle, report_of_outputs
from sctransformer.reports.writing import default_target
from tests.unit.reports.cells import N_CELLS, write_outputs


@pytest.fixture
def outputs(bundle: Bundle, tmp_path: Path) -> Path:
    write_outputs(tmp_path / "outputs", bundle.folder)
    return tmp_path / "outputs"


def test_outputs_give_test_cells_with_true_types_regulators_and_results(outputs: Path) -> None:
    report = report_of_outputs(outputs)
    assert report.cells is not None
    assert {OBS.predicted_labels, OBS.cell_type} <= set(report.cells.groupings)
    assert report.cells.activity_NR is not None
    assert report.cells.activity_NR.shape == (N_CELLS, 5)
    assert report.regulators is not None
    assert report.regulators.types == ["alpha", "beta", "gamma"]
    assert report.results is not None
    assert set(report.results.risk_coverage) == {"validation cells", "test cells"}
    assert report.results.predictions is not None
    assert report.notes == []


def test_every_section_names_its_files(outputs: Path) -> None:
    report = report_of_outputs(outputs)
    assert report.results is not None
    assert report.cells is not None
    assert report.regulators is not None
    for text in (*report.results.sources.values(), report.cells.source, report.regulators.source):
        assert str(outputs) in text


def test_the_title_is_the_registered_version_of_this_bundle(outputs: Path) -> None:
    content = {"name": "celltype", "version": 3, "identity": "another"}
    in_outputs(outputs, layout.REGISTRATION).write_text(json.dumps(content))
    assert report_of_outputs(outputs).title != "celltype/3"
    content["identity"] = read_bundle(outputs / "bundle").identity
    in_outputs(outputs, layout.REGISTRATION).write_text(json.dumps(content))
    assert report_of_outputs(outputs).title == "celltype/3"


def test_outputs_without_test_cells_give_the_rest_and_a_sentence(outputs: Path) -> None:
    in_outputs(outputs, layout.TEST_CELLS_FILE).unlink()
    report = report_of_outputs(outputs)
    assert report.cells is None
    assert report.results is not None
    assert "dvc pull evaluate" in report.notes[0]


def test_a_bundle_gives_regulators_and_metrics_and_a_sentence(bundle: Bundle) -> None:
    report = report_of_bundle(bundle, "celltype/1")
    assert (report.title, report.cells) == ("celltype/1", None)
    assert report.results is not None
    assert report.results.metrics["test"]["macro_f1"] == 0.9
    assert "a model keeps no cells" in report.notes[0]


def test_a_model_without_activities_gives_a_report_without_regulators(bundle_folder: Path) -> None:
    report = report_of_bundle(read_bundle(bundle_folder), "earlier")
    assert report.regulators is None
    assert any("model.direction targets" in note for note in report.notes)


def test_outputs_of_a_model_without_activities_give_cells_and_results(bundle_folder: Path, tmp_path: Path) -> None:
    write_outputs(tmp_path / "outputs", bundle_folder)
    report = report_of_outputs(tmp_path / "outputs")
    assert report.cells is not None
    assert report.cells.activity_NR is None
    assert (report.cells.top, report.regulators) == (None, None)
    assert "Results on test cells" in render(report)


def test_a_source_is_recognised(outputs: Path, bundle: Bundle) -> None:
    assert report_of(str(outputs)).cells is not None
    assert report_of(str(outputs.parent)).cells is not None
    assert report_of(str(bundle.folder)).cells is None
    assert default_target(str(outputs)) == outputs / "report.html"
    assert default_target(str(outputs.parent)) == outputs / "report.html"


def test_what_is_no_source_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"missing\.h5ad: no such file or folder; expected"):
        report_of("missing.h5ad")
    with pytest.raises(UserError, match="is no source of a report; expected"):
        report_of(str(tmp_path))
    (tmp_path / "training").mkdir()
    with pytest.raises(UserError, match="holds no evaluated model"):
        report_of(str(tmp_path))
