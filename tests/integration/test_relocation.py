"""A project that was copied or moved: the copy reads its own bundles, and writes nothing before it is repaired."""

import os
import shutil
import sqlite3
from pathlib import Path

import anndata
import pytest
from mlflow import MlflowClient

from sctransformer._constants import OBS
from sctransformer.files import sha256_file
from sctransformer.tracking import runs
from sctransformer.tracking.relocation import former_folder, relocate
from tests.conftest import simulated_cells
from tests.integration.conftest import Call


def state(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def original(store: MlflowClient, project: Path, bundle_folder: Path, call: Call, tmp_path: Path) -> Path:
    """A project with a registered champion, a run with an artifact, and new cells."""
    folder = tmp_path / "a project, 100% of it"
    folder.mkdir()
    shutil.copyfile(project / "mlflow.db", folder / "mlflow.db")
    os.chdir(folder)  # the fixture `project` restores the folder
    (folder / "policy.yaml").write_text("gates: {prior_edges: {minimum: 10}}\n")
    simulated_cells(60).write_h5ad(folder / "new.h5ad")
    runs.log_artifact(runs.start_run("training", "one", {}, {}), folder / "policy.yaml")
    assert call("register", "--bundle", bundle_folder).code == 0
    assert call("promote", "celltype/1", "--first", "--policy", "policy.yaml").code == 0
    assert former_folder(folder / "mlflow.db") is None
    return folder


def test_a_copy_is_repaired_and_leaves_the_original_unchanged(
    original: Path, tmp_path: Path, bundle_folder: Path, call: Call
) -> None:
    copy = tmp_path / "Kopie mit Ü"
    shutil.copytree(original, copy)
    before = state(original)
    os.chdir(copy)

    labelled = call("annotate", "-i", "new.h5ad", "-m", "celltype@champion", "-o", "out")  # reads, so it works at once
    assert labelled.code == 0, labelled.err
    assert OBS.predicted_labels in anndata.read_h5ad(copy / "out/new_annotated.h5ad").obs
    for words in (
        ("promote", "celltype/1", "--policy", "policy.yaml", "--first"),
        ("rollback", "celltype", "--reason", "x"),
        ("register", "--bundle", bundle_folder, "--name", "other"),
    ):
        refused = call(*words)
        assert refused.code == 1
        assert f"records its artifacts in {original}, because the project was copied or moved" in refused.err
        assert "run `sctransformer doctor --repair`" in refused.err
    assert "records its artifacts in" in call("doctor").out
    assert state(copy)["mlflow.db"] == before["mlflow.db"]

    assert f"recorded artifacts in {original}; now those in {copy}" in call("doctor", "--repair").out
    with sqlite3.connect(copy / "mlflow.db") as connection:
        assert [
            line for line in connection.iterdump() if f"{original}/" in line or f"{original.as_uri()}/" in line
        ] == []
    assert call("doctor").code == 0
    assert call("register", "--bundle", bundle_folder, "--name", "other").code == 0
    promoted = call("promote", "other/1", "--first", "--policy", "policy.yaml")
    assert promoted.code == 0, promoted.err
    assert state(original) == before


def test_a_moved_project_reads_its_bundles(original: Path, tmp_path: Path, call: Call) -> None:
    moved = tmp_path / "moved"
    original.rename(moved)
    os.chdir(moved)
    assert call("annotate", "-i", "new.h5ad", "-m", "celltype@champion", "-o", "out").code == 0
    assert call("doctor").code == 1
    assert call("doctor", "--repair").code == 0
    assert call("doctor").code == 0


def test_a_link_to_the_folder_is_no_copy_and_artifacts_must_be_there(
    original: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "link").symlink_to(original)
    assert former_folder(tmp_path / "link" / "mlflow.db") is None
    assert relocate(tmp_path / "link" / "mlflow.db") is None
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(original / "mlflow.db", alone / "mlflow.db")
    os.chdir(alone)
    assert f"mlartifacts: no such folder; copy it from {original / 'mlartifacts'}" in call("doctor", "--repair").out
