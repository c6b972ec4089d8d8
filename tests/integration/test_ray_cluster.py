"""Training on a cluster of two nodes with checkpoints in S3: one node is killed, the other continues."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.training.checkpoint import PROGRESS
from sctransformer.training.ray_connection import connection
from sctransformer.training.run_folder import RunFolder
from sctransformer.tuning.search import EPOCH, Report
from tests.integration.test_ray_training import CONFIG, bare_run, load_cells

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_node(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a node with one CPU, without the tests on its path."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    command += ["--object-store-memory=100000000", *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    environment |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
    with (folder / "node.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def stop_node(node: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a node."""
    os.killpg(node.pid, signal.SIGKILL)
    node.wait()


@pytest.fixture
def bucket(s3: Any) -> str:
    """URL of a folder in a bucket of a real S3 server."""
    s3.create_bucket(Bucket="runs")
    return "s3://runs/training"


@pytest.fixture
def cluster(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two nodes, the head first."""
    port = free_port()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    # not /tmp/ray, where Ray records the last cluster; a short path, since it holds sockets
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own:
        yield from two_nodes(port, own, tmp_path, monkeypatch)


def two_nodes(
    port: int, own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[subprocess.Popen[bytes]]]:
    head = ("--head", f"--port={port}", f"--temp-dir={own}", "--include-dashboard=false")
    started = [start_node(tmp_path, *head)]
    try:
        for _ in range(240):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.25)
        started.append(start_node(tmp_path, f"--address=127.0.0.1:{port}"))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        yield started
    finally:
        for node in started:
            if node.poll() is None:
                stop_node(node)


def load_shipped(files: Mapping[str, Path]) -> TrainingCells:
    """The cells, if the uploaded file can be read."""
    assert files["note"].read_text() == "shipped"
    assert "sctransformer-" in str(files["note"])  # downloaded from the storage, not read from the folder of the driver
    return load_cells(files)


def trial_elsewhere(
    values: dict[str, Any], report: Report, files: Mapping[str, Path], shared_folder: RunFolder
) -> None:
    """A trial that needs a file of the machine that runs the search."""
    load_shipped(shared_folder.fetch_inputs(files))
    report({EPOCH: 1, "val_macro_f1": values["train.lr"]})


DRIVER = """
import os, signal, sys, time
from dataclasses import replace
from functools import partial
from pathlib import Path
from sctransformer.training.cluster import Workers, fit_on_ray
from sctransformer.training.ray_connection import connection, nodes
from sctransformer.training.run_folder import RunFolder
from sctransformer.tuning.search import SearchPlan, search
from sctransformer.tuning.space import SearchSpace
from tests.integration.test_ray_cluster import TESTS, load_shipped, trial_elsewhere
from tests.integration.test_ray_training import TASK
from tests.integration.test_search import Journal

url, note, node = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
killed, here = [], note.parent
SPACE = SearchSpace.model_validate({"trials": 1, "parameters": {"train.lr": {"choice": [0.1, 0.2]}}})

def on_epoch(report):
    print("epoch", report.epoch, flush=True)
    if report.epoch == 4 and not killed:
        killed.append(node)
        os.killpg(node, signal.SIGKILL)

with connection(code=[TESTS]):
    while nodes() < 2:
        time.sleep(0.5)
    shared_folder = RunFolder(url, "search")
    shared_folder.upload_inputs({"note": note})
    trial = partial(trial_elsewhere, files={"note": note}, shared_folder=shared_folder)
    plan = SearchPlan(SPACE, {"train.lr": 0.1}, 1)
    found = search(trial, plan, here / "search", Journal(here / "trials"), [TESTS])
    print("searched", all(trial.score == trial.values["train.lr"] for trial in found), len(found), flush=True)
    task = replace(TASK, load_cells=load_shipped, files={"note": note})
    workers = Workers(count=2, minimum=1, placement="SPREAD", max_restarts=4)
    fit_on_ray(task, workers, RunFolder(url, "run"), on_epoch)
    print("nodes", nodes())
"""


def test_training_continues_when_a_node_is_lost(
    bucket: str, cluster: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Code and files are shipped, checkpoints are in S3, two workers become one, each epoch is reported once."""
    (tmp_path / "note.txt").write_text("shipped")
    command = [sys.executable, "-c", DRIVER, bucket, str(tmp_path / "note.txt"), str(cluster[1].pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr + (tmp_path / "node.log").read_text()
    lines = [line for line in done.stdout.splitlines() if line.startswith(("searched", "epoch", "nodes"))]
    assert lines == ["searched True 1", *(f"epoch {epoch}" for epoch in range(CONFIG.epochs)), "nodes 1"]
    folder = RunFolder(bucket, "run")
    found = folder.newest_checkpoint()
    assert found is not None
    assert found[1].progress.position == (CONFIG.epochs, 0)
    for name, tensor in bare_run().weights.items():
        torch.testing.assert_close(found[1].weights[name], tensor, atol=1e-3, rtol=1e-2, msg=name)
    assert len(folder.filesystem.glob(f"{folder.path}/*/*/{PROGRESS}")) == 1
    folder.remove()
    assert not folder.filesystem.exists(folder.path)


def test_an_address_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=r"no Ray cluster answers there \(Connection refused\); start it, correct"):
        connection().__enter__()


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ("nowhere://bucket", "not a storage that fsspec supports"),
        ("/proc/nothing", r"cannot be written \(.*\); correct train\.storage"),
    ],
)
def test_an_unusable_storage_is_refused(storage: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RunFolder(storage, "run").require_writable()


def test_a_missing_s3_server_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=r"s3://runs/run: cannot be written \(.*\); correct train\.storage"):
        RunFolder("s3://runs", "run").require_writable()
