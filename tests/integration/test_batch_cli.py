"""Scheduled annotation as a user and a scheduler meet it: job files, runs, records, drift, MLflow there and gone."""

import fcntl
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.annotation.files import FileOutcome
from sctransformer.annotation.journal import FOLDER
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.cli import annotate
from sctransformer.errors import BusyError
from sctransformer.evaluation.reference import reference_profile
from sctransformer.export.bundle import read_bundle
from sctransformer.files import sha256_file, write_json
from sctransformer.jobs.history import History
from sctransformer.jobs.spec import load_job
from sctransformer.registry.lookup import look_up
from sctransformer.registry.models import resolve
from sctransformer.registry.references import parse_reference
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking import outbox
from sctransformer.tracking.location import DATABASE
from sctransformer.tracking.store import connect
from tests.conftest import LABELS, arrays, simulated_cells
from tests.integration.conftest import Call
from tests.integration.processes import MlflowServer, free_port

QUIET = {"validate": False, "resources": {"cpus": 1}}


@pytest.fixture(scope="module")
def profiled_bundle(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that knows its training cells, as `export` writes it."""
    folder = shutil.copytree(bundle_folder, tmp_path_factory.mktemp("profiled") / "bundle")
    session = LocalScorer(read_bundle(folder)).session
    training, validation = arrays(simulated_cells(600)), arrays(simulated_cells(600, seed=1))
    embedding_NE = session.score(training.counts_NG, training.library_size_N).embedding_NE
    confidence_N = session.score(validation.counts_NG, validation.library_size_N).probabilities_NC.max(axis=1)
    reference = {"profile": reference_profile(training, embedding_NE, LABELS, confidence_N, 0.3)}
    write_json(folder / "reference.json", reference)
    lines = (folder / "checksums.txt").read_text().splitlines()
    kept = [line for line in lines if not line.endswith("  reference.json")]
    listed = sorted([*kept, f"{sha256_file(folder / 'reference.json')}  reference.json"], key=lambda line: line[66:])
    (folder / "checksums.txt").write_text("".join(f"{line}\n" for line in listed))
    return folder


@pytest.fixture
def bundle(profiled_bundle: Path, project: Path) -> Path:
    return shutil.copytree(profiled_bundle, project / "bundle")


@pytest.fixture
def job_file(project: Path, bundle: Path) -> Path:
    (project / "new").mkdir()
    return write_job(project, {})


def write_job(project: Path, changes: dict[str, Any]) -> Path:
    content = {"model": str(project / "bundle"), "input": "new", "output": "annotated", **QUIET, **changes}
    path = project / "pipelines" / "jobs" / "nightly.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def arrive(project: Path, name: str, seed: int, depth: float = 1.0, n_cells: int = 150) -> None:
    """A file of new cells; `depth` thins them, as another technology would."""
    cells = simulated_cells(n_cells, seed=seed)
    if depth < 1:
        counts = np.random.default_rng(seed).binomial(cells.X.toarray().astype(int), depth)
        cells.X = sparse.csr_matrix(counts.astype(np.float32))
        cells.obs[OBS.library_size] = counts.sum(axis=1) + 100.0 * depth
    cells.write_h5ad(project / "new" / f"{name}.h5ad")


def runs_of(client: MlflowClient) -> list[Any]:
    """All runs of the job, the oldest first."""
    experiment = client.get_experiment_by_name("annotation")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def test_a_job_labels_what_is_new_and_keeps_a_record_of_it(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    assert call("batch", "run", "nightly").out.splitlines()[-1].startswith("nightly: files 0 labelled")
    arrive(project, "a", 1)
    arrive(project, "b", 2)
    outcome = call("batch", "run", "nightly")
    assert outcome.code == 0, outcome.err
    assert "nightly: files 2 labelled, 0 unchanged, 0 failed; 300 cells" in outcome.out
    before = (project / "annotated" / "a_annotated.h5ad").stat().st_mtime_ns
    arrive(project, "c", 3)
    (project / "new" / "d.h5ad").write_bytes(b"no HDF5")
    outcome = call("batch", "run", job_file)
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1
    assert "d.h5ad: is not a readable h5ad file" in outcome.err
    assert "files 1 labelled, 2 unchanged, 1 failed; 150 cells" in outcome.out
    assert (project / "annotated" / "a_annotated.h5ad").stat().st_mtime_ns == before
    record = anndata.read_h5ad(project / "annotated" / "c_annotated.h5ad").uns["sctransformer"]
    assert (record["drift"], bool(record["drifted"])) == ("like the training cells", False)

    status = call("batch", "status", "nightly")
    assert status.code == 0
    for words in (
        "d.h5ad: is not a readable",
        "new/c.h5ad: like the training cells",
        "no alarm",
        "annotated/drift.html",
    ):
        assert words in status.out
    runs = runs_of(store)
    assert [run.data.metrics["files_labelled"] for run in runs] == [0, 2, 1]
    last = runs[-1]
    assert last.info.status == "FINISHED"
    assert last.data.metrics["files_failed"] == 1
    assert last.data.metrics["cells"] == 150
    shares = [value for name, value in last.data.metrics.items() if name.startswith("label_share/")]
    assert sum(shares) == pytest.approx(1.0)
    assert {"seconds", "rejected_share", "gene_coverage_min", "mean_confidence"} <= set(last.data.metrics)
    reasons = [f"rejected_share/{reason}" for reason in ("low confidence", "novel", "no counts")]
    assert sum(last.data.metrics[name] for name in reasons) == pytest.approx(last.data.metrics["rejected_share"])
    assert last.data.tags["sctransformer.drift"] == "quiet"
    assert last.data.params["job.input"] == "new"
    assert [file.path for file in store.list_artifacts(last.info.run_id)] == ["drift.html"]


@pytest.mark.slow
def test_a_job_takes_a_pattern_over_folders(project: Path, job_file: Path, store: MlflowClient, call: Call) -> None:
    for sample in ("s1", "s2"):
        (project / "new" / sample).mkdir()
        arrive(project, f"{sample}/cells", 1)
    write_job(project, {"input": "new/*/cells.h5ad"})
    assert "nightly: files 2 labelled" in call("batch", "run", "nightly").out
    assert "nightly: files 0 labelled, 2 unchanged" in call("batch", "run", "nightly").out
    outputs = sorted((project / "annotated").rglob("*.h5ad"))
    assert [str(path.relative_to(project / "annotated")) for path in outputs if path.is_file()] == [
        "s1/cells_annotated.h5ad",
        "s2/cells_annotated.h5ad",
    ]


@pytest.mark.slow
def test_drift_is_flagged_in_the_file_and_raises_the_alarm_the_second_time(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    write_job(project, {"drift": {"fail": True}})
    codes = []
    for number, depth in enumerate((1.0, 0.2, 1.0, 0.2)):
        arrive(project, f"batch{number}", number, depth)
        codes.append(call("batch", "run", "nightly").code)
    assert codes == [0, 0, 0, 4]
    again = call("batch", "run", "nightly")
    assert (again.code, "drift alarm as before" in again.out) == (0, True)
    for number, drifted in enumerate((False, True, False, True)):
        record = anndata.read_h5ad(project / "annotated" / f"batch{number}_annotated.h5ad").uns["sctransformer"]
        assert bool(record["drifted"]) is drifted
    assert record["drift"].startswith("drifted: ")
    outcome = call("drift", "report", "nightly", "-o", project / "report.html")
    assert outcome.out.strip().endswith("4 batches, ALARM")
    page = (project / "report.html").read_text()
    assert page.count("<option value=") == 4
    assert page.count("log10 of the library size") == 4
    assert "Alarm: it is raised when\n2 of the last 5" in page
    assert page.count('class="over">drifted: ') == 4  # in the table, and beside the charts of the batch
    assert "A batch is compared\nonly with batches of the same model version." in page
    assert "http" not in page.replace("http-equiv", "")
    status = call("batch", "status", "nightly").out
    assert status.endswith("drift    ALARM; report: annotated/drift.html\n")
    (project / "annotated" / "drift.html").unlink()
    status = call("batch", "status", "nightly").out
    assert status.endswith("report: none, `sctransformer drift report nightly` makes it\n")

    file = next((project / "annotated").rglob("batches.jsonl"))
    identity = read_bundle(project / "bundle").identity
    *others, last = file.read_text().splitlines()
    file.write_text("\n".join([*others, last.replace(identity, "another")]) + "\n")
    assert call("drift", "report", "nightly").out.endswith("4 batches, no alarm\n")
    page = (project / "annotated" / "drift.html").read_text()
    assert page.count("log10 of the library size") == 3
    assert page.count("another model version labelled this batch") == 1


@pytest.mark.slow
def test_labels_come_first_when_mlflow_is_gone(
    project: Path, job_file: Path, store: MlflowClient, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is down before the run starts; the metrics reach the store later, once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    arrive(project, "a", 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    outcome = call("batch", "run", "nightly")
    assert outcome.code == 5, outcome.err
    assert "MLflow could not be reached" in outcome.err
    assert (project / "annotated" / "a_annotated.h5ad").exists()

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert call("batch", "run", "nightly").code == 0
    runs = runs_of(store)
    assert [(run.data.metrics["files_labelled"], run.data.metrics["files_unchanged"]) for run in runs] == [
        (1, 0),
        (0, 1),
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_labels_come_first_when_the_server_is_killed_in_mid_job(
    project: Path, job_file: Path, store: MlflowClient, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first file; what was not sent is sent to the same store by the next run."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    arrive(project, "a", 1)
    arrive(project, "b", 2)
    server, of_file = MlflowServer(project / "server", project / DATABASE), annotate.of_file

    def kill(outcome: FileOutcome) -> str:
        server.end(signal.SIGKILL)
        return of_file(outcome)

    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with monkeypatch.context() as killing:
            killing.setattr(annotate, "of_file", kill)
            outcome = call("batch", "run", "nightly")
        assert (outcome.code, "files 2 labelled" in outcome.out) == (5, True), outcome
        assert "metrics of this run are kept in outputs/unsent" in outcome.err
        assert "MLflow could not be reached" in outcome.err
        for name in "ab":
            assert "predicted_labels" in anndata.read_h5ad(project / "annotated" / f"{name}_annotated.h5ad").obs
        run_id = History(load_job(job_file)).runs()[-1].mlflow_run
        assert run_id is not None
        assert outbox.unsent(run_id) == 4  # metrics, tag, end, report

        server.start()
        client = MlflowClient(server.url)
        assert client.get_run(run_id).info.status == "RUNNING"
        assert call("batch", "run", "nightly").code == 0
        run = client.get_run(run_id)
        assert (run.info.status, run.data.metrics["files_labelled"]) == ("FINISHED", 2)
        assert [file.path for file in client.list_artifacts(run_id)] == ["drift.html"]
        assert outbox.unsent(run_id) == 0
        register_bundle(project / "bundle", "celltype")  # a real server answers a look-up as it answers the client
        found, asked = look_up(parse_reference("celltype@candidate")), resolve("celltype@candidate")
        assert found is not None
        assert (found.name, found.version, found.tags, found.bundle().folder) == (
            asked.name,
            asked.version,
            asked.tags,
            asked.folder,
        )
    finally:
        server.end(signal.SIGKILL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "celltype@nobody"}, "celltype"),
        ({"input": "nowhere://new/"}, "nowhere"),
        ({"resources": {"cpus": 3}}, "3 CPU threads were requested, but only 1 cores are available"),
    ],
)
def test_a_run_that_does_not_start_leaves_a_record(
    project: Path,
    job_file: Path,
    store: MlflowClient,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    write_job(project, changes)
    assert call("batch", "render", "nightly", "--target", "kubernetes").code == 0
    outcome = call("batch", "run", "nightly")
    sentence = outcome.err.removeprefix("Error: ").strip()
    assert (outcome.code, words in sentence) == (1, True), outcome
    (record,) = History(load_job(job_file)).runs()
    assert (record.error, record.exit_code, bool(record.ended)) == (sentence, 1, True)
    status = call("batch", "status", "nightly").out
    assert f"exit code 1; MLflow run {record.mlflow_run}; {sentence}" in status
    assert "no batch yet" in status
    (run,) = runs_of(store)
    assert (run.info.status, run.data.tags["sctransformer.error"]) == ("FAILED", sentence)


@pytest.mark.slow
def test_a_run_that_does_not_start_is_sent_later_and_makes_no_store(project: Path, job_file: Path, call: Call) -> None:
    write_job(project, {"model": "celltype@nobody"})
    assert "no registry at" in call("batch", "run", "nightly").err
    assert not (project / "mlflow.db").exists()
    write_job(project, {})
    assert call("batch", "run", "nightly").code == 0
    assert [run.info.status for run in runs_of(connect())] == ["FAILED", "FINISHED"]


@pytest.mark.slow
def test_a_file_that_is_being_written_waits_for_the_next_run(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    arrive(project, "a", 1)
    arrive(project, "b", 2)
    with (project / "new" / "b.h5ad").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 does in the process that writes
        outcome = call("batch", "run", "nightly")
    assert outcome.code == 75
    assert "files 1 labelled, 0 unchanged, 0 failed, 1 waiting" in outcome.out
    assert outcome.err == "Note: new/b.h5ad: another process is writing it now; try again when it is done.\n"
    assert "waiting  new/b.h5ad" in call("batch", "status", "nightly").out
    (run,) = runs_of(store)
    assert (run.info.status, run.data.metrics["files_failed"]) == ("FINISHED", 0)
    assert "files 1 labelled, 1 unchanged, 0 failed;" in call("batch", "run", "nightly").out


@pytest.mark.slow
def test_two_runs_at_once_and_a_run_that_was_killed(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    arrive(project, "a", 1)
    history = History(load_job(job_file))
    with history.locked():
        outcome = call("batch", "run", "nightly")
    assert (outcome.code, outcome.err) == (
        75,
        "Error: job nightly: another run of it is running; nothing was done.\n",
    )
    assert call("batch", "run", "nightly").code == 0
    record = history.runs()[-1]
    record.exit_code = None
    history.write_run(record)
    with (history._journal.folder / "batches.jsonl").open("a") as stream:
        stream.write('{"cut off')
    assert "running, or killed" in call("batch", "status", "nightly").out
    assert len(history.batches()) == 1
    with pytest.raises(BusyError), history.locked(), History(load_job(job_file)).locked():
        pass


@pytest.mark.slow
def test_great_expectations_keeps_a_file_from_being_labelled(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    write_job(project, {"validate": True})
    arrive(project, "good", 1)
    cells = simulated_cells(100, seed=4)
    counts = cells.X.toarray()
    counts[:80] = 0
    cells.X = sparse.csr_matrix(counts)
    cells.write_h5ad(project / "new" / "hollow.h5ad")
    outcome = call("batch", "run", "nightly")
    assert outcome.code == 3
    assert "hollow.h5ad" in outcome.err
    assert "batch_" in outcome.err
    assert [path.name for path in (project / "annotated").glob("*.h5ad")] == ["good_annotated.h5ad"]
    record = History(load_job(job_file)).runs()[-1]
    assert record.files[0]["validation"]["met"] > 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, "field model is None"),
        ({"colour": "red"}, "field colour is unknown"),
        ({"drift": {"psi": -1}}, "field drift.psi is -1"),
        ({"drift": {"window": 0}}, "field drift.window is 0"),
        ({"drift": {"window": 2, "raised_by": 5}}, "field drift: raised_by is 5; expected at most window (2)"),
        ({"annotation": {"threshold": 2}}, "field annotation.threshold is 2"),
        ({"annotation": {"format": "pickle"}}, "field annotation.format is 'pickle'"),
        ({"resources": {"cpus": 0}}, "field resources.cpus is 0"),
        ({"schedule": "every night"}, "expected five fields as in crontab"),
        ({"schedule": "0 3 * * *\n* * * * * rm -rf /"}, "expected five fields as in crontab"),
        ({"schedule": "0 3 * * 9"}, "field schedule: day of week is '9'; expected 0 to 7"),
        ({"input": "new\nEnvironment=X"}, "one line without control characters"),
        ({"output": "../elsewhere"}, "expected a folder of its own, without '..'"),
        ({"output": "/"}, "expected a folder of its own"),
        ({"output": "."}, "expected a folder of its own"),
        ({"report": "../drift.html"}, "expected a path inside the output folder"),
        ({"report": "/tmp/drift.html"}, "expected a path inside the output folder"),
        ({"report": ".sctransformer"}, "expected a path inside the output folder"),
        ({"name": "../../x"}, "field name is '../../x'"),
        ({"image": "x; rm -rf /"}, "field image is"),
        ({"input": "nowhere.h5ad"}, "nowhere.h5ad: no such file"),
        ({"model": "nothing"}, "nothing: no such folder"),
    ],
)
def test_job_files_that_no_run_can_have(
    project: Path, job_file: Path, store: MlflowClient, call: Call, changes: dict[str, Any], words: str
) -> None:
    write_job(project, changes)
    outcome = call("batch", "run", "nightly")
    assert outcome.code == 1, outcome
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert not list(project.rglob("*_annotated*.h5ad")) or "nowhere" in words


def test_job_files_that_are_none(project: Path, job_file: Path, call: Call) -> None:
    assert "no such job (in pipelines/jobs: nightly)" in call("batch", "run", "other").err
    job_file.write_text("model: [")
    assert "is not valid YAML" in call("batch", "status", "nightly").err
    job_file.write_text("- a\n")
    assert "found a list; a job file has fields such as model, input" in call("batch", "run", "nightly").err
    job_file.write_text("model: !!python/object/apply:os.system ['true']\ninput: new\noutput: out\n")
    assert call("batch", "run", "nightly").code == 1


@pytest.mark.slow
def test_no_link_leads_out_of_the_output_folder(project: Path, job_file: Path, store: MlflowClient, call: Call) -> None:
    arrive(project, "a", 1)
    (project / "elsewhere").mkdir()
    (project / "annotated").mkdir()
    (project / "annotated" / "drift.html").symlink_to(project / "elsewhere" / "drift.html")
    assert "leads out of annotated" in call("batch", "run", "nightly").err
    (project / "annotated" / "drift.html").unlink()
    (project / "annotated" / FOLDER).symlink_to(project / "elsewhere")
    assert "leads out of annotated" in call("batch", "run", "nightly").err
    (project / "annotated" / FOLDER).unlink()
    (project / "elsewhere" / "precious.h5ad").write_text("mine")
    (project / "annotated" / "a_annotated.h5ad").symlink_to(project / "elsewhere" / "precious.h5ad")
    assert call("batch", "run", "nightly").code == 0
    assert (project / "elsewhere" / "precious.h5ad").read_text() == "mine"
    assert sorted(path.name for path in (project / "elsewhere").iterdir()) == ["precious.h5ad"]


def test_cells_without_a_label_are_counted_by_reason(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    write_job(project, {"annotation": {"threshold": 0.6}})
    cells = simulated_cells(100, seed=4)
    counts = cells.X.toarray()
    counts[:10] = 0
    cells.X = sparse.csr_matrix(counts)
    cells.write_h5ad(project / "new" / "some_empty.h5ad")
    assert call("batch", "run", "nightly").code == 0
    (run,) = runs_of(store)
    assert run.data.metrics["rejected_share/no counts"] == pytest.approx(0.1)
    (record,) = History(load_job(job_file)).runs()
    assert record.files[0]["rejected_by"]["no counts"] == 10
    status = call("batch", "status", "nightly").out
    assert "100 cells, " in status
    assert "no counts 10.0%)" in status


def test_without_a_job_the_state_of_every_job_is_shown(
    project: Path, job_file: Path, store: MlflowClient, call: Call
) -> None:
    (job_file.parent / "broken.yaml").write_text("model: [")
    (job_file.parent / "other.yaml").write_text(job_file.read_text().replace("annotated", "elsewhere"))
    arrive(project, "a", 1)
    assert call("batch", "run", "nightly").code == 0
    broken, nightly, other = call("batch", "status").out.splitlines()
    assert broken.startswith("broken: pipelines/jobs/broken.yaml: is not valid YAML")
    assert nightly.startswith("nightly: schedule '0 3 * * *'; last run 20")
    assert "exit code 0; 1 labelled, 0 unchanged, 0 failed; 150 cells" in nightly
    assert other == "other: schedule '0 3 * * *'; has not run yet"


def test_without_job_files_there_is_no_state(project: Path, call: Call) -> None:
    assert call("batch", "status").out.startswith("pipelines/jobs: has no job file")


def test_help_of_a_run_keeps_its_lines(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in call("batch", "run", "--help").out.splitlines()]
    assert {
        "75 *  another process is running this job, or annotating one of its files",
        "sctransformer batch run new-cells",
    } <= {*lines}
    assert not any("\\b" in line or "\b" in line for line in lines)


@pytest.mark.parametrize("target", ["systemd", "cron", "kubernetes", "kuberay"])
def test_what_schedulers_are_given(project: Path, job_file: Path, call: Call, target: str) -> None:
    write_job(project, {"schedule": "0 3 1 * MON"})
    outcome = call("batch", "render", "nightly", "--target", target, "-o", project / "units")
    assert outcome.code == 0, outcome.err
    texts = {path.name: path.read_text() for path in (project / "units").iterdir()}
    everything = "\n".join(texts.values())
    assert "batch run" in everything.replace("batch, run", "batch run")
    if target == "systemd":
        assert set(texts) == {"sctransformer-nightly.service", "sctransformer-nightly.timer"}
        assert "[Timer]\nOnCalendar=*-*-1 3:0:00\nOnCalendar=Mon *-*-* 3:0:00\nPersistent" in everything
        if shutil.which("systemd-analyze"):
            units = [str(project / "units" / name) for name in texts]
            checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
            assert "sctransformer-nightly" not in checked.stderr, checked.stderr
    elif target == "cron":
        (line,) = [line for line in everything.splitlines() if not line.startswith("#")]
        assert line.startswith("0 3 1 * 1 cd ")
    else:
        (manifest,) = yaml.safe_load_all(everything)
        assert manifest["spec"]["schedule"] == "0 3 1 * 1"
        assert manifest["metadata"]["name"] == "nightly"
        if target == "kubernetes":
            assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
            (container,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
            assert container["command"] == ["sctransformer", "batch", "run", "pipelines/jobs/nightly.yaml"]
            assert container["resources"]["limits"]["memory"] == "4096Mi"
        else:
            (workers,) = manifest["spec"]["jobTemplate"]["rayClusterSpec"]["workerGroupSpecs"]
            assert workers["replicas"] == 2
            assert "--cluster" in manifest["spec"]["jobTemplate"]["entrypoint"]


def test_the_job_file_of_the_project_is_one() -> None:
    root = Path(__file__).parents[2]
    for path in (root / "pipelines" / "jobs").glob("*.yaml"):
        assert load_job(path).output.parts[0] == "annotated"
