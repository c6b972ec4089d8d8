"""The DVC pipeline in a clone of the project: small parameters, no mocks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anndata
import mlflow
import pandas as pd
import psutil
import pytest
import yaml
from mlflow.entities import Run

from infra.stack.services import s3_client
from infra.stack.settings import BUCKET
from sctransformer._constants import OBS
from sctransformer.files import sha256_file
from tests.integration.conftest import Call

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = {
    "train": {"epochs": 3},
    "model": {"depth": 1, "width": 16, "readout_heads": 4},
    "evaluate": {"baseline_folds": 2},
    "export": {"variants": []},
}
LENIENT = {
    "macro_f1": {"minimum": 0.0},
    "class_recall": {"minimum": 0.0, "min_cells": 10},
    "calibration": {"maximum": 1.0},
    "baseline": {"enabled": False},
    "champion": {"margin": 1.0, "probability": 0.5},
    "shuffled_network": {"enabled": False},
}
"""Gates for a model that was trained for three epochs."""
WITHOUT_CONTROL = ("-S", "control.enabled=false")
"""The fixture `project` trains the control once; more would only take time."""


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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone in which the whole pipeline has run once."""
    folder = clone(tmp_path_factory.mktemp("project"))
    run(folder, "dvc", "repro")
    yield folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone in which nothing has run."""
    return clone(tmp_path)


def stages_run(project: Path, *options: str) -> list[str]:
    lines = run(project, "dvc", "repro", *options).stdout.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert stages_run(project, "--dry") == []
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro").stdout


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"validate": {"min_cells": 40}}, "validate"),
        ({"prior": {"min_coverage": 0.01}}, "prior"),
        ({"train": {"lr": 0.002}}, "train"),
        ({"export": {"parity_tolerance": 2e-5}}, "export"),
    ],
)
def test_a_changed_parameter_changes_the_stage_that_reads_it(
    project: Path, changes: dict[str, dict[str, object]], stage: str
) -> None:
    """A dry run lists the stages that are out of date now; later stages depend on its outputs."""
    before = (project / "params.yaml").read_text()
    set_params(project, changes)
    try:
        assert stages_run(project, "--dry") == [stage]
    finally:
        (project / "params.yaml").write_text(before)


def client_of(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def training_runs(project: Path) -> list[Run]:
    """Training runs, the latest first."""
    client = client_of(project)
    (experiment,) = [found for found in client.search_experiments() if found.name == "training"]
    return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]))


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes whose working folder this is."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(" ".join(process.cmdline()))
    return found


def processes_left_in(folder: Path, seconds: float = 30.0) -> list[str]:
    """Command lines of the processes in this folder that do not end within this time; Ray's workers end after Ray."""
    last = time.monotonic() + seconds
    while (found := processes_in(folder)) and time.monotonic() < last:
        time.sleep(0.2)
    return found


def test_a_run_has_one_point_per_epoch_and_its_inputs(project: Path) -> None:
    client = client_of(project)
    (found,) = training_runs(project)
    assert found.info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(found.info.run_id, "val_macro_f1")] == [0, 1, 2]
    assert found.data.params["train.epochs"] == "3"
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
    set_params(project, {"evaluate": {"rejection_error": 0.2}})
    assert stages_run(project) == ["evaluate", "export", "register"]
    (project / "params.yaml").write_text(before)
    assert stages_run(project) == []  # the earlier result is in DVC's cache


def test_training_again_gives_the_same_weights(project: Path) -> None:
    """Two Ray workers, the same seed: the same bytes."""
    weights = project / "outputs/training/weights.safetensors"
    before = sha256_file(weights)
    run(project, "dvc", "repro", "--force", "--single-item", "train")
    assert sha256_file(weights) == before


def test_an_interrupted_training_is_resumed(project: Path) -> None:
    """Ctrl-C once there is a checkpoint; then the same run to its end, with each epoch once."""
    folder, epochs = project / "outputs/ray", 40
    before = (project / "params.yaml").read_text()
    settings = [
        "-S",
        "train.lr=3e-4",
        "-S",
        f"train.epochs={epochs}",
        "-S",
        f"train.patience={epochs}",
        *WITHOUT_CONTROL,
    ]
    with (project / "log").open("w+") as log:
        command = ["sctransformer", "train", *settings, "--name", "small lr"]
        process = subprocess.Popen(command, cwd=project, env=environment_of(project), stdout=log, stderr=log)
        while process.poll() is None and not list(folder.glob("*/*/checkpoint_*")):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        log.seek(0)
        output = log.read()
    assert "Interrupted: the last checkpoint" in output
    assert "Traceback" not in output
    assert not processes_left_in(project)
    (newest, *_) = training_runs(project)
    assert (newest.info.run_name, newest.info.status) == ("small lr", "KILLED")

    run(project, "sctransformer", "train", "--resume", "small lr")
    (newest, *_) = training_runs(project)
    assert (newest.info.run_name, newest.info.status) == ("small lr", "FINISHED")
    history = client_of(project).get_metric_history(newest.info.run_id, "val_macro_f1")
    assert sorted(point.step for point in history) == list(range(epochs))
    assert newest.data.params["train.lr"] == "0.0003"
    assert json.loads(newest.data.tags["overrides"])["train.lr"] == 3e-4
    assert (project / "params.yaml").read_text() == before
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("store", "error"), [("sqlite", 0.25), ("team", 0.3)])
def test_the_whole_lifecycle(
    project: Path,
    store: str,
    error: float,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:
    """Train, register, promote, annotate, promote another model, roll back, trace the labels to their model.

    Once with SQLite, where the pipeline has already trained a model, and once with the team's services: MLflow with
    passwords, PostgreSQL, an S3 store.
    """
    variables = request.getfixturevalue("stack").client_environment() if store == "team" else {}
    (project / "policy.yaml").write_text(yaml.safe_dump({"gates": LENIENT}))

    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    def train(*words: str) -> None:
        run(project, "sctransformer", "train", *words, **variables)

    def command(*words: str) -> str:
        """Output of a command that is called in this process, for imports take seconds."""
        outcome = call(*words)
        assert outcome.code == 0, outcome
        return outcome.out

    def promote(version: str, *words: str) -> str:
        return command("promote", version, "--policy", "policy.yaml", *words)

    name, output = f"lifecycle-{store}", project / "annotated" / store
    if store == "team":
        train("-S", "train.lr=0.0004", *WITHOUT_CONTROL, "--name", "for the team")
    run_id = json.loads((project / "outputs/bundle/lineage.json").read_text())["run_id"]
    assert run_id[:8] in command("runs", run_id)
    assert f"{name}/1: registered" in command("register", "--name", name)
    assert "would be promoted" in promote(f"{name}/1", "--first", "--dry-run")
    promote(f"{name}/1", "--first", "--reason", "the first")
    command("annotate", "-i", "data/new_cells.h5ad", "-m", f"{name}@champion", "-o", str(output))
    (labelled,) = output.glob("*.h5ad")

    train("-S", f"evaluate.rejection_error={error}")
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
    if store == "team":
        bundles = s3_client(request.getfixturevalue("stack")).list_objects_v2(Bucket=BUCKET)["Contents"]
        assert sum(item["Key"].endswith("artifacts/bundle/model.onnx") for item in bundles) == 2


def test_own_data_from_a_clone_to_a_promoted_model(
    fresh: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """The README's workflow: cells, a network and a job file of one's own, committed after the training.

    What the model was made from must be committed, the job file need not be, and the model is not trained twice.
    """
    monkeypatch.chdir(fresh)
    monkeypatch.setenv("PYTHONPATH", str(fresh / "src"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    network = pd.read_csv("src/sctransformer/prior/immune_network.tsv", sep="\t", comment="#")
    regulators = sorted(set(network["regulator"]))[:15]
    targets = sorted(set(network.loc[network["regulator"].isin(regulators), "target"]) - set(regulators))[:60]
    outside = tmp_path_factory.mktemp("outside")
    (outside / "symbols.txt").write_text("\n".join([*regulators, *targets]))
    cells = outside / "mine.h5ad"

    def command(*words: object, code: int = 0) -> str:
        outcome = call(*words)
        assert outcome.code == code, outcome
        return outcome.out

    simulate = ("data", "simulate", "--cells", 200, "--types", 3, "--regulators", 15, "-o", cells)
    command(*simulate, "--gene-symbols", outside / "symbols.txt")
    command("data", "add", "mine", cells, "--label-column", "cell_type", "--donor-column", "donor_id")
    source = "immune=src/sctransformer/prior/immune_network.tsv"
    command("prior", "build", "-i", source, "-o", "data/networks/mine.tsv")
    job = Path("pipelines/jobs/mine.yaml")
    job.write_text("model: mine@champion\ninput: data/new_cells.h5ad\noutput: annotated/mine\n")
    gates = LENIENT | {"prior_edges": {"minimum": 1}, "prior_genes": {"minimum": 0.0}}
    Path("policy.yaml").write_text(yaml.safe_dump({"gates": gates}))
    before = Path("params.yaml").read_bytes()

    train = ("train", "-S", "data=mine", "-S", "prior=mine", "-S", "train.epochs=1", *WITHOUT_CONTROL)
    printed = command(*train)
    assert "not committed: data/networks/mine.tsv (new), data/raw/mine.h5ad.dvc (new)." in printed
    assert "git add data/networks/mine.tsv data/raw/mine.h5ad.dvc && git commit" in printed
    assert "Trained by run" in printed
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
