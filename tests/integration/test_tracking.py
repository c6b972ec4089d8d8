"""Runs in a real store: what is written can be read, nothing is written twice, and readers create nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sctransformer.errors import UserError
from sctransformer.tracking import runs
from sctransformer.tracking import store as stores
from sctransformer.tracking.store import connect
from tests.integration.processes import MlflowServer, free_port
from tests.integration.test_registry_models import sum_again


def test_a_run_keeps_parameters_data_and_files(store: MlflowClient, project: Path) -> None:
    params = {"seed": 0, "train": {"lr": 1e-3, "gpus": False}, "names": ["a", "b"], "long": "x" * 9000, "none": None}
    run_id = runs.start_run("training", "first", params, {"stage": "train"})
    runs.log_dataset(run_id, "pbmc", "a" * 64, "data/cells.h5ad", "training", {"cells": 700})
    runs.log_dataset(run_id, "network", "b" * 64, "network.tsv", "prior", {})
    runs.log_metrics(run_id, {"test_macro_f1": 0.9})
    (project / "plots").mkdir()
    (project / "plots" / "curve.png").write_bytes(b"picture")
    runs.log_artifact(run_id, project / "plots")
    runs.log_artifact(run_id, project / "plots" / "curve.png")
    runs.set_tags(run_id, {"note": "seen"})
    runs.finish_run(run_id, "FINISHED")

    run = store.get_run(run_id)
    assert run.data.params["train.lr"] == "0.001"
    assert run.data.params["train.gpus"] == "false"
    assert run.data.params["names"] == '["a", "b"]'
    assert len(run.data.params["long"]) == 6000
    assert run.data.tags["stage"] == "train"
    assert run.data.tags["note"] == "seen"
    assert run.data.metrics == {"test_macro_f1": 0.9}
    assert run.info.status == "FINISHED"
    inputs = {one.dataset.name: one for one in run.inputs.dataset_inputs}
    assert {tag.key: tag.value for tag in inputs["pbmc"].tags} == {
        "mlflow.data.context": "training",
        "sha256": "a" * 64,
    }
    assert inputs["network"].dataset.digest == "b" * 36
    kept = {path.name for path in (project / "mlartifacts" / "training").rglob("*.png")}
    assert kept == {"curve.png"}


@pytest.mark.slow
def test_an_epoch_is_logged_once_also_by_another_process(store: MlflowClient) -> None:
    run_id = runs.start_run("training", "epochs", {}, {})
    for epoch in range(2):
        runs.log_epoch(run_id, epoch, {"val/loss": 1.0 - epoch / 10, "recall CD4+": 0.5})
    again = f"""
from sctransformer.tracking import runs
for epoch in (0, 1, 2):
    runs.log_epoch({run_id!r}, epoch, {{"val/loss": 9.0}})
"""
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    points = store.get_metric_history(run_id, "val/loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.9), (2, 9.0)]
    assert len(store.get_metric_history(run_id, "recall CD4_")) == 2


def test_metrics_that_would_share_a_name_are_kept_apart(store: MlflowClient) -> None:
    run_id = runs.start_run("training", "names", {}, {})
    runs.log_metrics(run_id, {"f1 CD4+": 0.1, "f1 CD4*": 0.2, "/../x": 0.3})
    assert store.get_run(run_id).data.metrics == {"f1 CD4_": 0.1, "f1 CD4__2": 0.2, "x": 0.3}


@pytest.mark.parametrize(
    "call",
    [
        lambda: runs.require_run("0" * 32),
        lambda: runs.log_epoch("0" * 32, 0, {"a": 1.0}),
        lambda: runs.log_metrics("0" * 32, {"a": 1.0}),
        lambda: runs.finish_run("0" * 32, "FAILED"),
    ],
)
def test_readers_make_no_store(project: Path, call) -> None:  # noqa: ANN001
    with pytest.raises(UserError, match=r"no registry at .*mlflow\.db; run from the project's folder"):
        call()
    assert list(project.iterdir()) == []


def test_a_run_that_is_not_there_or_was_deleted(store: MlflowClient, project: Path) -> None:
    with pytest.raises(UserError, match="has no run 0000"):
        runs.require_run("0" * 32)
    with pytest.raises(UserError, match=r"nothing\.png: no such file"):
        runs.log_artifact("0" * 32, project / "nothing.png")
    run_id = runs.start_run("training", "deleted", {}, {})
    runs.require_run(run_id)
    store.delete_run(run_id)
    with pytest.raises(UserError, match="was deleted; restore it"):
        runs.log_metrics(run_id, {"a": 1.0})


def test_a_deleted_experiment_is_named(store: MlflowClient) -> None:
    store.delete_experiment(stores.experiment_id(store, "training"))
    with pytest.raises(UserError, match="experiment 'training' was deleted"):
        runs.start_run("training", "again", {}, {})


def test_a_file_that_is_no_database(project: Path) -> None:
    (project / "mlflow.db").write_text("this is a text, and no database at all")
    with pytest.raises(UserError, match="is not a SQLite database"):
        connect()


def test_the_default_store_is_absolute_and_the_variable_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stores.tracking_uri() == f"sqlite:///{project / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert stores.tracking_uri() == f"sqlite:///{project / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert stores.tracking_uri() == "http://127.0.0.1:5000"
    assert stores.redact_credentials("http://me:secret@host/x") == "http://***@host/x"


def test_a_server_that_is_not_there_is_one_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"does not respond \(Connection refused\); start it") as caught:
        runs.require_run("0" * 32)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 15


@pytest.fixture
def server(project: Path) -> Iterator[str]:
    """A real MLflow server with its own database, artifacts behind it."""
    server = MlflowServer(project / "server")
    server.start()
    yield server.url
    server.end(signal.SIGTERM)


@pytest.mark.slow
def test_the_same_over_a_real_server(
    server: str, project: Path, monkeypatch: pytest.MonkeyPatch, bundle_folder: Path
) -> None:
    from sctransformer.registry import doctor, history, models, promotion
    from sctransformer.registry.policy import Policy
    from sctransformer.registry.registration import register_bundle

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run_id = runs.start_run("training", "remote", {"train": {"lr": 0.1}}, {})
    runs.log_dataset(run_id, "pbmc", "a" * 64, "data/cells.h5ad", "training", {})
    for _ in range(2):
        runs.log_epoch(run_id, 0, {"loss": 1.0})
    plot = project / "curve.png"
    plot.write_bytes(b"picture")
    runs.log_artifact(run_id, plot)
    runs.finish_run(run_id, "FINISHED")
    client = connect()
    assert len(client.get_metric_history(run_id, "loss")) == 1
    assert [file.path for file in client.list_artifacts(run_id)] == ["curve.png"]

    first = register_bundle(bundle_folder, "celltype", run_id)
    assert register_bundle(bundle_folder, "celltype", run_id).created is False
    assert register_bundle(bundle_folder, "other").created is True
    found = models.resolve("celltype@candidate")
    assert found.version == first.version == 1
    assert found.folder.is_relative_to(project / "cache")
    (found.folder / "card.md").write_text("damaged")
    assert (models.resolve("celltype/1").folder / "card.md").read_text() == (bundle_folder / "card.md").read_text()

    policy = Policy.model_validate({"gates": {"prior_edges": {"minimum": 10}}})
    assert promotion.promote("celltype/1", policy=policy, first=True).verdict == "promoted"
    assert models.resolve("celltype@champion").version == 1
    with pytest.raises(UserError, match=r"no alias 'previous' \(aliases: candidate = 1, champion = 1\)"):
        models.resolve("celltype@previous")
    with pytest.raises(UserError, match=r"no version 9 \(versions: 1\)"):
        models.resolve("celltype/9")
    (decision,) = history.decisions_about("celltype")
    assert (decision.to_version, decision.outcome) == (1, "done")

    location = client.get_model_version_download_uri("celltype", "1")
    (graph,) = (path for path in (project / "server").rglob("model.onnx") if Path(location).parent.name in path.parts)
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    sum_again(graph.parent)
    assert models.resolve("celltype@champion").version == 1  # the download that is kept here is good
    problems = [finding.sentence for finding in doctor.examine_registry("celltype") if finding.state == "problem"]
    assert len(problems) == 2
    for sentence in problems:
        assert "is not the bundle that was registered as celltype/1, files were replaced in the store" in sentence
    assert register_bundle(bundle_folder, "celltype", run_id).version == 2
    assert not (project / "mlflow.db").exists()
