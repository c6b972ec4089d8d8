"""A container's user without a name, with HOME=/ and no right to write in the project: what only reads still works."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anndata
import pandas as pd
import pytest
from mlflow import MlflowClient

from sctransformer import registry
from sctransformer._constants import OBS
from sctransformer.prior.settings import PriorSettings
from tests.conftest import simulated_cells

USER = 12345
SETPRIV = shutil.which("setpriv")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or SETPRIV is None, reason="needs root and setpriv to become another user"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that the other user may enter, unlike those of pytest, with one in it that it may write."""
    folder = Path(tempfile.mkdtemp(prefix="sctransformer-test-"))
    folder.chmod(0o755)
    (folder / "out").mkdir()
    (folder / "out").chmod(0o777)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def as_nobody(outside: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user without a name; the user may read everything, also where the interpreter is."""
    assert SETPRIV is not None
    user = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    environment = {
        "HOME": "/",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "PYTHONPATH": str(ROOT / "src"),
        "TMPDIR": str(outside / "tmp"),
    }
    command = [SETPRIV, *user, *reading, sys.executable, "-m", "sctransformer.cli.main", *words]
    return subprocess.run(
        command, cwd=outside / "project", env=environment, capture_output=True, text=True, check=False
    )


def test_a_user_without_a_name_reads_a_project(
    store: MlflowClient, project: Path, bundle_folder: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = outside / "project"
    (folder / "pipelines" / "jobs").mkdir(parents=True)
    shutil.copyfile(project / "mlflow.db", folder / "mlflow.db")
    monkeypatch.chdir(folder)
    (folder / "policy.yaml").write_text("gates: {prior_edges: {minimum: 10}}\n")
    registry.register(bundle=bundle_folder)
    assert registry.promote("celltype/1", first=True, policy=folder / "policy.yaml").verdict == "promoted"
    job = f"model: celltype@champion\ninput: cells.h5ad\noutput: {outside}/out/job\nannotation: {{regulators: off}}\n"
    (folder / "pipelines" / "jobs" / "nightly.yaml").write_text(job)
    cells = simulated_cells(60)
    cells.write_h5ad(folder / "cells.h5ad")
    network = pd.read_csv(ROOT / PriorSettings().network, sep="\t")
    cells.var_names = pd.unique(network["target"])[: cells.n_vars]
    cells.write_h5ad(folder / "symbols.h5ad")

    annotate = (
        "annotate",
        "-i",
        "cells.h5ad",
        "-m",
        "celltype@champion",
        "-o",
        f"{outside}/out",
        "--regulators",
        "off",
    )
    results = {
        "annotate": as_nobody(outside, *annotate, "--majority-voting"),
        "batch": as_nobody(outside, "batch", "run", "nightly"),
        "history": as_nobody(outside, "history", "celltype"),
        "data": as_nobody(outside, "data", "check", "symbols.h5ad", "--label-column", "cell_type"),
    }
    # 5: all files are labelled, but the store cannot be written
    assert {name: done.returncode for name, done in results.items()} == {
        "annotate": 0, "batch": 5, "history": 0, "data": 0
    }, results  # fmt: skip
    noise = {name: done.stderr for name, done in results.items() if name != "batch" and done.stderr}
    assert noise == {}
    assert "Traceback" not in results["batch"].stderr
    warning, hint = results["batch"].stderr.splitlines()
    assert "mlflow.db: cannot be written by this user" in warning
    assert hint.startswith("MLflow could not be reached")
    for output in ("out/cells_annotated.h5ad", "out/job/cells_annotated.h5ad"):
        assert OBS.predicted_labels in anndata.read_h5ad(outside / output).obs
    caches = [path for path in (outside / "tmp").iterdir() if path.name == f"sctransformer-{USER}"]
    assert [path.stat().st_mode & 0o777 for path in caches] == [0o700]
