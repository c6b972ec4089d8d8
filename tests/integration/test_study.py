"""A small study in real processes: killed and resumed, it gives the result of an uninterrupted one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipelines.study.command import main
from pipelines.study.record import CELL_TAG, EXPERIMENT
from sctransformer.tracking.runs import PARENT_TAG
from tests.unit.pipelines.study_files import write_study

FEW = {"inner_folds": 2, "seeds": [0]}
"""Logistic regression is fitted for each fold of its search, and every model for each seed."""
SEARCH = {"search": [{"train.epochs": 2}, {"train.epochs": 3}], "search_repeats": 1, **FEW}
SHARED = {"model.width": 8, "model.heads": 2, "model.feedforward": 8, "model.readout_heads": 2, "model.embedding": 8}
REPOSITORY = Path(__file__).parents[2]


def command(study: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "pipelines.study", str(study), "--out", str(out)]


def environment(store: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}"}


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls the command in this process with one worker, since imports take seconds; returns its output."""

    def call(study: Path, out: Path, store: Path, *words: str) -> str:
        with monkeypatch.context() as patch:
            patch.chdir(store)
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
            main([str(study), "--out", str(out), "--processes", "1", *words])
        return capsys.readouterr().out

    return call


def results_of(out: Path) -> dict[str, int]:
    """Time at which each result was written."""
    return {file.name: file.stat().st_mtime_ns for file in (out / "cells").glob("*.json")}


def scores_of(out: Path) -> pd.DataFrame:
    table = pd.read_csv(out / "results.csv")
    return table[["kind", "name", "percent", "seed", "point", "macro_f1", "accuracy", "chosen"]]


def runs_of(store: Path) -> list[Any]:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    found = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([found.experiment_id], max_results=1000))


def living(group: int) -> list[int]:
    """Running processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == group and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def all_end(group: int) -> bool:
    """Whether all processes of a group end within seconds."""
    deadline = time.monotonic() + 60
    while living(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not living(group)


def interrupt(study: Path, out: Path, store: Path, after: int, how: signal.Signals, whole_group: bool) -> int:
    """Start the study, stop it after a number of results, and return its process group."""
    with (store / "interrupted.log").open("ab") as log:
        process = subprocess.Popen(
            command(study, out), env=environment(store), cwd=store, start_new_session=True, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 600
    while len(results_of(out)) < after:
        assert process.poll() is None, (store / "interrupted.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (os.killpg if whole_group else os.kill)(process.pid, how)
    process.wait(timeout=120)
    return process.pid


@pytest.mark.slow
def test_a_stopped_and_killed_study_is_resumed_with_the_same_result(
    tmp_path: Path, run_here: Callable[..., str]
) -> None:
    """Ctrl-C explains how to resume and leaves no process; after a kill of the main process its workers end, too."""
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    shared = {**SHARED, "train.batch_size": 16, "train.lr": 0.01}
    study = write_study(tmp_path, shared=shared, arms={"mask": {}}, **SEARCH)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert "4 of 4 results are finished" in run_here(study, calm / "out", calm)
    # 2 baselines, 4 searches, 2 arms
    assert len(results_of(calm / "out")) == 8

    group = interrupt(study, killed / "out", killed, after=1, how=signal.SIGINT, whole_group=True)
    assert all_end(group)
    output = (killed / "interrupted.log").read_text()
    assert "the same command resumes the study" in output
    assert "Traceback" not in output
    assert [one.info.status for one in runs_of(killed) if PARENT_TAG not in one.data.tags] == ["KILLED"]
    before = results_of(killed / "out")
    assert 1 <= len(before) < 8
    group = interrupt(study, killed / "out", killed, after=5, how=signal.SIGKILL, whole_group=False)
    assert all_end(group)
    between = results_of(killed / "out")
    assert len(between) < 8
    run_here(study, killed / "out", killed)
    after = results_of(killed / "out")

    assert {name: after[name] for name in before} == before  # none was computed again
    assert {name: after[name] for name in between} == between
    assert set(after) == set(results_of(calm / "out"))
    pd.testing.assert_frame_equal(scores_of(killed / "out"), scores_of(calm / "out"))
    for name in ("table.md", "report.html", "means.csv", "differences.csv"):
        assert (killed / "out" / name).read_text() == (calm / "out" / name).read_text()
    assert not list((killed / "out").rglob("*/.*.json.*/*"))  # a killed worker leaves no incomplete result

    run_here(study, killed / "out", killed)
    assert results_of(killed / "out") == after

    found = runs_of(killed)
    parents = [one for one in found if PARENT_TAG not in one.data.tags]
    children = [one for one in found if PARENT_TAG in one.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert {one.data.tags[PARENT_TAG] for one in children} == {parents[0].info.run_id}
    assert len(children) == len({one.data.tags[CELL_TAG] for one in children}) == 4
    table = pd.read_csv(killed / "out" / "results.csv").set_index(["name", "percent", "seed"])
    for child in children:
        params, metrics = child.data.params, child.data.metrics
        row = table.loc[(params["name"], float(params["percent"]), int(params["seed"]))]
        assert metrics["test_macro_f1"] == pytest.approx(row["macro_f1"])
        assert ("search_1_macro_f1" in metrics) == (row["kind"] == "arm")


@pytest.mark.slow
def test_a_part_of_a_study_can_be_run_first_and_pretraining_is_shared_by_percentages(
    tmp_path: Path, run_here: Callable[..., str]
) -> None:
    shared = {**SHARED, "train.epochs": 2, "train.pretrain_epochs": 1}
    study = write_study(tmp_path, shared=shared, arms={"mask": {}, "shuffled": {"prior.control": "shuffled"}}, **FEW)
    assert "1 of 6 results are finished" in run_here(study, tmp_path / "out", tmp_path, "--only", "mask", "10%")
    assert "6 of 6 results are finished" in run_here(study, tmp_path / "out", tmp_path)
    assert len(list((tmp_path / "out" / "pretrained").iterdir())) == 2  # 2 arms, not x 2 percentages
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Difference to shuffled" in table
    assert "Difference to logistic_regression" in table
