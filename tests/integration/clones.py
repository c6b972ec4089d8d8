"""Clones of this project with small parameters, in which tests run the DVC pipeline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from tests.shared import shared_folder

ROOT = Path(__file__).parents[2]
SMALL = {
    "train": {"workers": 0, "pretrain_epochs": 3, "pretrain_min_steps": 0},
    "labels": {"components": [20], "penalties": [1e-3], "folds": 2, "picks": 3},
    "evaluate": {"baseline_folds": 2},
    "control": {"shuffles": 4},
    "export": {"variants": []},
}
LENIENT = {
    "macro_f1": {"minimum": 0.0},
    "class_recall": {"minimum": 0.0, "min_cells": 10},
    "calibration": {"maximum": 1.0},
    "baseline": {"enabled": False},
    "champion": {"margin": 1.0, "probability": 0.5},
    "prior_evidence": {"enabled": False},
    "shuffled_network": {"enabled": False},
}
"""Gates for a model that was trained for a few epochs."""
WITHOUT_CONTROL = ("-S", "control.enabled=false")
"""The fixture `project` of test_pipeline trains the control once; more would only take time."""


def environment_of(project: Path, **variables: str) -> dict[str, str]:
    """Environment with the code of the clone, and with this interpreter as `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project / "src"), "DVC_NO_ANALYTICS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return environment | variables


def run(project: Path, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the clone."""
    environment = environment_of(project, **variables)
    done = subprocess.run(arguments, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def set_params(project: Path, changes: dict[str, dict[str, object]]) -> None:
    """Change parameters in the clone's params.yaml."""
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        content[section] |= values
    path.write_text(yaml.safe_dump(content))


def clone(folder: Path) -> Path:
    """Copy the working tree into a new git repository, with small parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    set_params(folder, SMALL)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "all")
    return folder


def prepared_clone(folder: Path, factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing has run, with the results of the stages before training in its DVC cache."""

    def prepare(parent: Path) -> None:
        run(clone(parent / "project"), "dvc", "repro", "prior")

    made = shared_folder(factory, "prepared", prepare) / "project"
    shutil.copytree(made / ".dvc" / "cache", clone(folder) / ".dvc" / "cache")
    return folder


def client_of(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def training_runs(client: mlflow.MlflowClient) -> list[Run]:
    """Training runs, the latest first."""
    (experiment,) = [found for found in client.search_experiments() if found.name == "training"]
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]))
