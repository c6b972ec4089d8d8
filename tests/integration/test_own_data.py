"""From cells and a network of one's own to a promoted model and back, in a clone of the project; no mocks.

With the team's services where PostgreSQL is installed, otherwise with SQLite.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from infra.stack.services import s3_client
from infra.stack.settings import BUCKET, Stack
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking.store import connect
from tests.integration.clones import (
    LENIENT,
    WITHOUT_CONTROL,
    clone,
    environment_of,
    run,
    training_runs,
)
from tests.integration.conftest import Call
from tests.integration.test_registry_models import changed

pytestmark = pytest.mark.slow

EPOCHS = 20
"""Enough to interrupt the training between the first and the last."""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone in which nothing has run."""
    return clone(tmp_path)


@pytest.fixture
def services(request: pytest.FixtureRequest) -> Stack | None:
    """MLflow with passwords, PostgreSQL and an S3 store; None where PostgreSQL is not installed."""
    try:
        found: Stack = request.getfixturevalue("stack")
    except pytest.skip.Exception:
        return None
    return found


def interrupted(project: Path, command: list[str], variables: dict[str, str]) -> str:
    """Output of a training that is stopped with Ctrl-C once there is a checkpoint; no process of it is left."""
    others, environment = processes_in(project), environment_of(project, **variables)
    with (project / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        while process.poll() is None and not list((project / "outputs/ray").glob("*/*/checkpoint_*")):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 130
        log.seek(0)
        output = log.read()
    last = time.monotonic() + 120.0  # Ray's workers end after Ray
    while (left := processes_in(project) - others) and time.monotonic() < last:
        time.sleep(0.2)
    assert not left, left
    return output


def processes_in(folder: Path) -> set[psutil.Process]:
    """Processes whose working folder this is."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.add(process)
    return found


def test_own_data_from_a_clone_to_a_promoted_model(
    fresh: Path,
    services: Stack | None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:
    """The README's workflow: cells, a network and a job file of one's own, committed after the training.

    The training is interrupted with Ray and resumed without it, as the same run, with each epoch once. What the model
    was made from must be committed, the job file need not be, and the model is not trained twice. Then new cells are
    annotated, another model is promoted and rolled back, and the labels are traced to their model.
    """
    variables = {} if services is None else services.client_environment()
    monkeypatch.chdir(fresh)
    monkeypatch.setenv("PYTHONPATH", str(fresh / "src"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    outside = tmp_path_factory.mktemp("outside")

    def command(*words: object, code: int = 0) -> str:
        """Output of a command that is called in this process, for imports take seconds."""
        outcome = call(*words)
        assert outcome.code == code, outcome
        return outcome.out

    add_own_files(outside, command)
    job = Path("pipelines/jobs/mine.yaml")
    job.write_text("model: mine@champion\ninput: data/new_cells.h5ad\noutput: annotated/mine\n")
    gates = LENIENT | {"prior_edges": {"minimum": 1}, "prior_genes": {"minimum": 0.0}}
    Path("policy.yaml").write_text(yaml.safe_dump({"gates": gates}))
    before = Path("params.yaml").read_bytes()

    values = {
        "data": "mine",
        "data.new_cells_fraction": 0.1,
        "prior": "mine",
        "train.pretrain_lr": 3e-4,
        "train.pretrain_epochs": EPOCHS,
    }
    words = [word for name, value in values.items() for word in ("-S", f"{name}={value}")]
    train = ("train", *words, *WITHOUT_CONTROL)
    printed = interrupted(fresh, ["sctransformer", *train, "-S", "train.workers=1", "--name", "my cells"], variables)
    assert "Interrupted: the last checkpoint" in printed
    assert "Traceback" not in printed
    assert "not committed: data/networks/mine.tsv (new), data/raw/mine.h5ad.dvc (new)." in printed
    assert "git add data/networks/mine.tsv data/raw/mine.h5ad.dvc && git commit" in printed
    client = connect()
    (run_of_training,) = training_runs(client)
    assert (run_of_training.info.run_name, run_of_training.info.status) == ("my cells", "KILLED")

    assert "Trained by run" in command("train", "--resume", "my cells", "-S", "train.workers=0")
    (run_of_training,) = training_runs(client)
    assert (run_of_training.info.run_name, run_of_training.info.status) == ("my cells", "FINISHED")
    history = client.get_metric_history(run_of_training.info.run_id, "pretraining_val_r2")
    assert sorted(point.step for point in history) == list(range(EPOCHS))
    assert run_of_training.data.params["train.pretrain_lr"] == "0.0003"
    assert json.loads(run_of_training.data.tags["overrides"])["train.pretrain_lr"] == 3e-4
    assert not list((fresh / "outputs/ray").iterdir())
    assert Path("params.yaml").read_bytes() == before
    command("register", "--name", "mine")
    promote = ("promote", "mine/1", "--first", "--policy", "policy.yaml", "--reason", "the first")
    assert "failed: lineage_clean." in command(*promote, code=1)

    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run(fresh, "git", "add", "data/networks/mine.tsv", "data/raw/mine.h5ad.dvc")
    run(fresh, *git, "commit", "--quiet", "-m", "mine")
    assert "mine/1 is the champion" in command(*promote)
    assert str(job) in run(fresh, "git", "status", "--short").stdout
    assert "Nothing was trained" in command(*train)
    assert "mine/1: was already registered" in command("register", "--name", "mine")

    command("annotate", "-i", "data/new_cells.h5ad", "-m", "mine@champion", "-o", "annotated")
    (labelled,) = Path("annotated").glob("*.h5ad")
    second = changed(Path("outputs/bundle"), outside / "second", calibration={"rejection_threshold": 0.2})
    assert register_bundle(second, "mine").version == 2
    printed = command("promote", "mine/2", "--policy", "policy.yaml", "--reason", "rejects less")
    assert "mine/2 is the champion; mine/1 is previous" in printed
    assert "mine/1 is the champion again" in command("rollback", "mine", "--reason", "too many unknown")
    answer = json.loads(command("lineage", str(labelled), "--json"))
    assert answer["annotation"]["model_version"] == "1"
    assert answer["lineage"]["run_id"] == run_of_training.info.run_id
    assert "problem" not in command("doctor", "mine")
    if services is not None:
        objects = s3_client(services).list_objects_v2(Bucket=BUCKET)["Contents"]
        assert sum(item["Key"].endswith("artifacts/bundle/model.onnx") for item in objects) == 2


def add_own_files(outside: Path, command: Callable[..., str]) -> None:
    """Simulate cells in a folder outside the project, and add them and a network to the project."""
    network = pd.read_csv("src/sctransformer/prior/immune_network.tsv", sep="\t", comment="#")
    regulators = sorted(set(network["regulator"]))[:15]
    targets = sorted(set(network.loc[network["regulator"].isin(regulators), "target"]) - set(regulators))[:60]
    (outside / "symbols.txt").write_text("\n".join([*regulators, *targets]))
    cells = outside / "mine.h5ad"
    simulate = ("data", "simulate", "--cells", 200, "--types", 3, "--regulators", 15, "-o", cells)
    command(*simulate, "--gene-symbols", outside / "symbols.txt")
    command("data", "add", "mine", cells, "--label-column", "cell_type", "--donor-column", "donor_id")
    source = "immune=src/sctransformer/prior/immune_network.tsv"
    command("prior", "build", "-i", source, "-o", "data/networks/mine.tsv")
