"""`sctransformer runs`, killed runs, metrics that could not be sent, and where code and data come from."""

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sctransformer.errors import UserError
from sctransformer.tracking import outbox, queries, runs
from sctransformer.tracking.queries import PROCESS_TAG
from sctransformer.tracking.source import code_patch, code_state, dvc_md5, git_commit
from tests.integration.conftest import Call


def a_run(name: str, lr: float, f1: float, tags: dict[str, str] | None = None) -> str:
    params = {"model": {"mode": "mask"}, "train": {"lr": lr, "epochs": 5}}
    run_id = runs.start_run("training", name, params, tags or {})
    runs.log_dataset(run_id, "pbmc", "a" * 64, "data/cells.h5ad", "training", {}, "c" * 32)
    runs.log_dataset(run_id, "immune", "b" * 64, "network.tsv", "prior", {})
    runs.log_metrics(run_id, {"best_val_macro_f1": f1, "test_macro_f1": f1 - 0.1})
    return run_id


def test_runs_are_listed_shown_and_compared(store: MlflowClient, call: Call) -> None:
    first, second = a_run("small lr", 1e-4, 0.7), a_run("large lr", 1e-2, 0.8)
    runs.finish_run(first, "FINISHED")
    runs.finish_run(second, "FAILED")
    listed = call("runs")
    assert listed.code == 0
    rows = [line for line in listed.out.splitlines() if "pbmc aaaaaaaa" in line]
    assert [row.split()[0] for row in rows] == [second[:8], first[:8]]  # the youngest first
    assert "small lr" in rows[1]
    assert "finished" in rows[1]
    assert "0.7" in rows[1]
    assert "failed" in rows[0]
    by_metric = call("runs", "-m", "test_macro_f1", "--limit", 1).out
    assert second[:8] in by_metric
    assert first[:8] not in by_metric

    compared = call("runs", first[:10], "large lr").out
    assert "train.lr" in compared
    assert "0.0001" in compared
    assert "train.epochs" not in compared  # it is the same
    assert "immune bbbbbbbb" in compared
    shown = call("runs", first).out
    assert "train.epochs" in shown
    whole = json.loads(call("runs", second, "--json").out)
    assert whole["params"]["train.lr"] == "0.01"
    unknown = call("runs", "nothing")
    assert unknown.code == 1
    assert "does not have exactly one run 'nothing'; see `sctransformer runs`" in unknown.err
    (given,) = [one for one in store.get_run(first).inputs.dataset_inputs if one.dataset.name == "pbmc"]
    assert {tag.key: tag.value for tag in given.tags}["dvc.md5"] == "c" * 32


def test_no_store_is_one_sentence(project: Path, call: Call) -> None:
    outcome = call("runs")
    assert outcome.code == 1
    assert "no registry at" in outcome.err
    assert list(project.glob("*.db")) == []


KILLED = """
import json, os, signal
from sctransformer.tracking import runs
from sctransformer.tracking.watchdog import watched
from sctransformer.tracking.queries import PROCESS_TAG, process_tag
run_id = runs.start_run("training", "killed", {}, {PROCESS_TAG: process_tag()})
print(run_id, flush=True)
if WATCHED:
    watching = watched(run_id)  # kept: a generator without references is closed
    watching.__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("watched", [True, False])
def test_a_killed_run_is_marked(store: MlflowClient, call: Call, watched: bool) -> None:
    """The watchdog marks it at once; if that was killed too, as in a power failure, the next listing does."""
    code = KILLED.replace("WATCHED", str(watched))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    run_id = done.stdout.strip()
    assert done.returncode == -signal.SIGKILL
    if watched:
        deadline = time.monotonic() + 180
        while store.get_run(run_id).info.status == "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.5)
        assert store.get_run(run_id).info.status == "KILLED"
    assert "killed" in call("runs").out
    assert store.get_run(run_id).info.status == "KILLED"


def test_a_running_run_is_left_alone_here_and_elsewhere(store: MlflowClient) -> None:
    here = a_run("here", 1.0, 0.5, {PROCESS_TAG: queries.process_tag()})
    there = a_run("there", 1.0, 0.5, {PROCESS_TAG: json.dumps(["another-host", 1, 1.0])})
    assert {run.run_id: run.status for run in queries.list_runs()} == {here: "RUNNING", there: "RUNNING"}


def test_metrics_are_kept_while_the_server_is_down_and_sent_in_order(
    store: MlflowClient, project: Path, monkeypatch: pytest.MonkeyPatch, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = a_run("unlucky", 1e-3, 0.6)
    outbox.log_epoch(run_id, 0, {"loss": 3.0})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    for epoch in (1, 2):
        outbox.log_epoch(run_id, epoch, {"loss": 3.0 - epoch})
    (project / "curve.png").write_bytes(b"first")
    outbox.log_artifact(run_id, project / "curve.png")
    (project / "curve.png").write_bytes(b"of another run")
    outbox.set_tags(run_id, {"note": "kept"})
    outbox.finish_run(run_id, "FINISHED")
    assert time.monotonic() - started < outbox.RETRY_SECONDS  # the server was waited for once, not five times
    assert outbox.unsent(run_id) == 5
    assert capsys.readouterr().err.count("Warning:") == 1
    assert outbox.send_all() == {run_id: 5}

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    ended = int(time.time() * 1000)
    assert call("runs").code == 0
    run = store.get_run(run_id)
    assert [(point.step, point.value) for point in store.get_metric_history(run_id, "loss")] == [
        (0, 3.0),
        (1, 2.0),
        (2, 1.0),
    ]
    assert (run.info.status, run.data.tags["note"]) == ("FINISHED", "kept")
    assert run.info.end_time <= ended
    (kept,) = (project / "mlartifacts").rglob("curve.png")
    assert kept.read_bytes() == b"first"
    assert outbox.unsent(run_id) == 0
    assert list(outbox.UNSENT.iterdir()) == []


def test_an_artifact_that_is_not_there(store: MlflowClient, project: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.png: no such file"):
        outbox.log_artifact("0" * 32, project / "nothing.png")


def test_the_patch_of_changed_code_applies(project: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], check=True)

    assert (git_commit(project), code_patch(project)) == (None, b"")
    (project / "src").mkdir()
    (project / "src" / "a.py").write_text("one = 1\n")
    git("init", "--quiet")
    git("add", "src")
    git("commit", "--quiet", "-m", "a")
    assert len(git_commit(project) or "") == 40
    assert code_patch(project) == b""
    (project / "src" / "a.py").write_text("one = 2\n")
    (project / "src" / "new.py").write_text("three = 3\n")
    patch = code_patch(project)
    state = code_state(project)
    assert state.patch_sha256 == hashlib.sha256(patch).hexdigest()
    # the files of the patch are those that the lineage names
    assert {file.path for file in state.files} == set(re.findall(r"^\+\+\+ b/(.+)$", patch.decode(), re.MULTILINE))
    (project / "p.patch").write_bytes(patch)
    git("checkout", "--quiet", "src/a.py")
    (project / "src" / "new.py").unlink()
    git("apply", "p.patch")
    assert (project / "src" / "new.py").read_text() == "three = 3\n"
    assert (project / "src" / "a.py").read_text() == "one = 2\n"


def test_hashes_that_dvc_knows(project: Path) -> None:
    (project / "dvc.lock").write_text(
        "stages: {prior: {deps: [{path: net.tsv, md5: aa}], outs: [{path: data/cells.h5ad, md5: bb, size: 1}]}}\n"
    )
    (project / "mine.h5ad.dvc").write_text("outs:\n- {path: mine.h5ad, md5: cc, size: 1}\n")
    known = [dvc_md5(Path(name)) for name in ("net.tsv", "data/cells.h5ad", "mine.h5ad", "other.tsv")]
    assert known == ["aa", "bb", "cc", None]
