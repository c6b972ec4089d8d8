"""The DVC pipeline in a clone of the project: small parameters, no mocks."""

import json
from pathlib import Path

import anndata
import pandas as pd
import pytest
import yaml

from sctransformer._constants import OBS
from sctransformer.export.bundle import read_bundle
from sctransformer.files import sha256_file
from sctransformer.registry.rescoring import predict_labels
from tests.integration.clones import (
    LENIENT,
    client_of,
    prepared_clone,
    run,
    set_params,
    training_runs,
)
from tests.integration.conftest import Call

pytestmark = pytest.mark.slow

ERROR = 0.2
"""Accepted error of another evaluation; the tests that use it compute it once, since DVC keeps the result."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the whole pipeline has run once."""
    folder = prepared_clone(tmp_path_factory.mktemp("project"), tmp_path_factory)
    run(folder, "dvc", "repro")
    return folder


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A clone in which nothing has run."""
    return prepared_clone(tmp_path, tmp_path_factory)


def stages_run(project: Path, *options: str) -> list[str]:
    lines = run(project, "dvc", "repro", *options).stdout.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro").stdout


def test_changed_parameters_change_the_stages_that_read_them(project: Path) -> None:
    """A dry run lists the stages that are out of date now; later stages depend on their outputs."""
    before = (project / "params.yaml").read_text()
    set_params(
        project,
        {
            "validate": {"min_cells": 40},
            "prior": {"min_coverage": 0.01},
            "train": {"pretrain_lr": 0.002},
            "export": {"parity_tolerance": 2e-5},
        },
    )
    try:
        assert stages_run(project, "--dry") == ["validate", "prior", "train", "export"]
    finally:
        (project / "params.yaml").write_text(before)


def test_a_run_has_one_point_per_epoch_and_its_inputs(project: Path) -> None:
    client = client_of(project)
    (found,) = training_runs(client)
    assert found.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(found.info.run_id, "pretraining_val_r2")] == [0, 1, 2]
    assert found.data.params["train.pretrain_epochs"] == "3"
    assert 0.0 < found.data.metrics["best_val_macro_f1"] <= 1.0
    assert (
        found.data.metrics["test_macro_f1"]
        == json.loads((project / "outputs/evaluation/metrics.json").read_text())["test"]["macro_f1"]
    )
    contexts = {
        tag.value for data in found.inputs.dataset_inputs for tag in data.tags if tag.key == "mlflow.data.context"
    }
    assert contexts == {"training", "prior"}
    kept = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert {"lineage.json", "curves.png", "confusion_matrix.png", "results.json", "embedding.png"} <= kept


def test_comparisons_score_the_test_cells_by_the_evaluated_model(project: Path) -> None:
    predictions = pd.read_csv(project / "outputs/evaluation/predictions.csv", dtype=str, keep_default_na=False)
    bundle = read_bundle(project / "outputs/bundle")
    assert predict_labels(bundle, project / "outputs/evaluation/test_cells.h5ad") == predictions["predicted"].tolist()
    assert bundle.metrics["refit"]["cells"] > bundle.metrics["test"]["cells"] + bundle.reference["cells"]
    assert bundle.calibration["cells"] == "cross-validation"


def test_new_cells_have_no_labels_and_are_not_used_elsewhere(project: Path) -> None:
    new = anndata.read_h5ad(project / "data/new_cells.h5ad")
    assert OBS.cell_type not in new.obs
    rest = anndata.read_h5ad(project / "outputs/prepared/cells.h5ad")
    assert not set(new.obs_names) & set(rest.obs_names)


def test_a_clean_clone_has_a_clean_lineage(project: Path) -> None:
    lineage = json.loads((project / "outputs/bundle/lineage.json").read_text())
    assert lineage["git"]["dirty"] is False
    assert len(lineage["git"]["commit"]) == 40
    assert lineage["dvc_lock_sha256"] == sha256_file(project / "outputs/bundle/dvc.lock")


def test_a_changed_parameter_reruns_only_the_stages_that_depend_on_it(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    set_params(project, {"evaluate": {"rejection_error": ERROR}})
    assert stages_run(project) == ["evaluate", "export", "register", "report"]
    (project / "params.yaml").write_text(before)
    assert stages_run(project) == []  # the earlier result is in DVC's cache


def test_the_whole_lifecycle(project: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    """Register, promote, annotate, promote another model, roll back, trace the labels to their model.

    With SQLite, and the models that the pipeline has trained above; test_own_data does so with the team's services.
    """
    (project / "policy.yaml").write_text(yaml.safe_dump({"gates": LENIENT}))
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def command(*words: str) -> str:
        """Output of a command that is called in this process, for imports take seconds."""
        outcome = call(*words)
        assert outcome.code == 0, outcome
        return outcome.out

    def promote(version: str, *words: str) -> str:
        return command("promote", version, "--policy", "policy.yaml", *words)

    name, output = "lifecycle", project / "annotated"
    run_id = json.loads((project / "outputs/bundle/lineage.json").read_text())["run_id"]
    assert run_id[:8] in command("runs", run_id)
    assert f"{name}/1: registered" in command("register", "--name", name)
    assert "would be promoted" in promote(f"{name}/1", "--first", "--dry-run")
    promote(f"{name}/1", "--first", "--reason", "the first")
    command("annotate", "-i", "data/new_cells.h5ad", "-m", f"{name}@champion", "-o", str(output))
    (labelled,) = output.glob("*.h5ad")

    command("train", "-S", f"evaluate.rejection_error={ERROR}")
    assert f"{name}/2: registered" in command("register", "--name", name)
    printed = promote(f"{name}/2", "--reason", "rejects less")
    assert f"{name}/2 is the champion; {name}/1 is previous" in printed
    assert "difference" in command("compare", f"{name}/2", f"{name}/previous")
    printed = command("rollback", name, "--reason", "too many unknown")
    assert f"{name}/1 is the champion again (it was {name}/2); previous is none" in printed
    history = command("history", name)
    assert all(word in history for word in ("rolled back", "unknown", "rejects", "first")), history

    answer = json.loads(command("lineage", str(labelled), "--json"))
    assert (answer["annotation"]["model"], answer["annotation"]["model_version"]) == (f"{name}@champion", "1")
    assert answer["lineage"]["run_id"] == run_id
    answer = json.loads(command("lineage", f"{name}/champion", "--json"))
    assert answer["git"]["commit"] == run(project, "git", "rev-parse", "HEAD").stdout.strip()
    assert [line[:13] for line in answer["decisions"]] == ["3: rolled bac", "1: promoted b"]
    assert "problem" not in command("doctor", name)


def failing_repro(project: Path, stage: str) -> str:
    done = run(project, "dvc", "repro", stage, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    (sentence,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error: ")]
    return sentence


def test_a_missing_label_column_stops_the_pipeline(fresh: Path) -> None:
    set_params(fresh, {"data": {"label_column": "celltypes"}})
    sentence = failing_repro(fresh, "ingest")
    assert "obs has no column 'celltypes'" in sentence
    assert "set data.label_column" in sentence
    assert not (fresh / "data/cells.h5ad").exists()


def test_a_network_with_unknown_columns_stops_the_pipeline(fresh: Path) -> None:
    (fresh / "mine.tsv").write_text("tf\tgene\tweight\nSPI1\tLYZ\t1\n")
    set_params(fresh, {"prior": {"network": "mine.tsv"}})
    sentence = failing_repro(fresh, "validate")
    assert "mine.tsv: columns are 'tf', 'gene', 'weight'; expected regulator, target, sign, confidence" in sentence


def test_a_failed_expectation_stops_the_pipeline_and_names_file_and_values(fresh: Path) -> None:
    set_params(fresh, {"validate": {"min_cells_per_class": 10}})
    sentence = failing_repro(fresh, "prepare")
    assert "pbmc68k_reduced.h5ad: expect_column_values_to_be_between on 'cells'" in sentence
    assert "'CD4+/CD45RA+/CD25- Naive T', cells 7" in sentence
    assert (fresh / "outputs/validation/data_docs/index.html").is_file()
    assert not (fresh / "outputs/prepared").exists()
