"""The command `sctransformer report`, and its errors."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

import sctransformer as sct
from sctransformer import layout
from sctransformer.files import write_json
from sctransformer.pipeline.stages.report import main
from sctransformer.registry.registration import register_bundle
from tests.integration.conftest import Call
from tests.unit.reports.cells import N_CELLS, annotated_cells, write_outputs


@pytest.fixture
def file(project: Path, activity_bundle: Path) -> Path:
    """An annotated file in the working folder."""
    annotated_cells(sct.read_bundle(activity_bundle)).write_h5ad(project / "cells_annotated.h5ad")
    return Path("cells_annotated.h5ad")


def test_a_page_is_written_beside_the_file_and_named(file: Path, call: Call) -> None:
    done = call("report", str(file))
    assert done.code == 0, done.err
    assert done.out.startswith("cells_annotated_report.html: open it in a browser (0.")
    assert f"All {N_CELLS} cells." in Path("cells_annotated_report.html").read_text()


def test_python_writes_the_page_that_the_command_writes(file: Path, call: Call, activity_bundle: Path) -> None:
    assert call("report", str(file), "-o", "by_command.html").code == 0
    written = sct.report(file, "by_python.html")
    assert written.read_bytes() == Path("by_command.html").read_bytes()
    sct.report(annotated_cells(sct.read_bundle(activity_bundle)), "in_memory.html")
    assert f"All {N_CELLS} cells." in Path("in_memory.html").read_text()


def test_a_registered_model_has_a_page_of_its_regulators(
    store: MlflowClient, call: Call, activity_bundle: Path
) -> None:
    register_bundle(activity_bundle, "celltype")
    done = call("report", "celltype@candidate")
    assert done.code == 0, done.err
    assert done.out.startswith("report.html: open it in a browser")
    assert "a model keeps no cells" in done.err
    assert "<h1>celltype/1</h1>" in Path("report.html").read_text()


def test_a_run_has_the_page_of_the_version_that_it_trained(
    store: MlflowClient, call: Call, activity_bundle: Path
) -> None:
    run = store.create_run(store.create_experiment("training"), run_name="mine")
    refused = call("report", "mine")
    assert refused.code == 1
    assert "its model was not registered" in refused.err
    register_bundle(activity_bundle, "celltype", run.info.run_id)
    for words in ("mine", run.info.run_id[:8]):
        assert call("report", words).code == 0
        assert "<h1>celltype/1</h1>" in Path("report.html").read_text()


def test_the_stage_keeps_the_page_with_the_run(store: MlflowClient, activity_bundle: Path) -> None:
    experiment = store.create_experiment("training", Path("artifacts").resolve().as_uri())
    run_id = store.create_run(experiment).info.run_id
    write_outputs(layout.METRICS.parents[1], activity_bundle)
    write_json(layout.LINEAGE, {"run_id": run_id})
    main()
    assert layout.REPORT.is_file()
    assert layout.REPORT.name in {item.path for item in store.list_artifacts(run_id)}


def test_bad_input_gives_one_sentence(project: Path, call: Call, file: Path) -> None:
    Path("empty.h5ad").write_bytes(b"")
    for words, expected in (
        (["missing.h5ad"], "missing.h5ad: no such file or folder; expected an annotated h5ad file"),
        (["empty.h5ad"], "it is empty"),
        (["no-such-run"], "no-such-run: no such file or folder, and no such run"),
        ([str(file), "-o", str(file)], "is the file to read"),
        ([str(file), "-o", "."], "is a folder"),
        ([str(file), "-m", "nowhere"], "nowhere: no such folder"),
    ):
        done = call("report", *words)
        assert (done.code, done.out) == (1, ""), words
        assert expected in done.err
        assert done.err.count("\n") == 1
        assert "Traceback" not in done.err
    assert file.stat().st_size > 1000
