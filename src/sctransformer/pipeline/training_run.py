"""The MLflow run and the checkpoint folder of a training: started or resumed, and always closed."""

import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sctransformer import layout
from sctransformer.data.prepared import read_class_names
from sctransformer.errors import UserError
from sctransformer.files import read_json, sha256_file
from sctransformer.params import Params
from sctransformer.pipeline.training_task import FILES
from sctransformer.registry.lineage import collect_lineage
from sctransformer.repository import in_git
from sctransformer.tracking import outbox, runs
from sctransformer.tracking.queries import EXPERIMENT, PROCESS_TAG, process_tag, status_of
from sctransformer.tracking.source import code_patch, dvc_md5, git_commit, write_code_archive
from sctransformer.tracking.system import system_metrics
from sctransformer.tracking.watchdog import watched
from sctransformer.training import resume
from sctransformer.training.report import EpochReport
from sctransformer.training.resume import RunManifest
from sctransformer.training.run_folder import RunFolder

LOG = logging.getLogger("sctransformer.run")
"""Log of the run; it is stored with the run."""
BEST = ("val_macro_f1", "val_accuracy", "val_loss")
"""Metrics of the chosen epoch that are logged for the run as a whole."""


class TrainingRun:
    """A training: its MLflow run and its checkpoint folder."""

    def __init__(self, manifest: RunManifest, folder: RunFolder, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self.folder = folder
        self.run_id = manifest.run_id
        self.lineage = manifest.lineage
        self.dvc_lock = manifest.dvc_lock

    def log_epoch(self, report: EpochReport) -> None:
        """Log an epoch, unless it is logged already."""
        LOG.info("epoch %d of %d, %s: %s", report.epoch + 1, report.epochs, report.phase, json.dumps(report.metrics()))
        outbox.log_epoch(self.run_id, report.epoch, report.metrics(self._class_names))

    def epochs_before(self) -> list[EpochReport]:
        """Epochs that were completed before this process resumed the run."""
        newest = self.folder.newest_checkpoint()
        return [] if newest is None else [EpochReport(**fields) for fields in newest[1].history]

    def last_checkpoint(self) -> str:
        """The newest checkpoint and the command that resumes from it, as part of a sentence."""
        newest = self.folder.newest_checkpoint()
        if newest is None:
            return "there is no checkpoint yet"
        progress = newest[1].progress
        where = f"epoch {progress.epochs_done}" + (f", step {progress.steps_done}" if progress.steps_done else "")
        return (
            f"the last checkpoint, at the start of {where}, is {newest[0]} "
            f"(`sctransformer train --resume {self.run_id[:8]}` resumes from it)"
        )

    def keep_results(self, best: EpochReport) -> None:
        """Log the results of the run, and remove its checkpoints. Call this once the outputs are written."""
        for path in (layout.LINEAGE, layout.CURVES, layout.HISTORY, layout.VALIDATION, layout.DATA_DOCS / "index.html"):
            outbox.log_artifact(self.run_id, path)
        metrics = {f"best_{name}": getattr(best, name) for name in BEST}
        outbox.log_metrics(self.run_id, {"best_epoch": best.epoch, **metrics})
        self.folder.remove()


@contextmanager
def start_run(params: Params) -> Iterator[TrainingRun]:
    """Start a run and log its parameters and inputs; folders of runs that cannot be resumed are removed.

    Raises:
        UserError: the tracking store or the checkpoint storage cannot be used.
    """
    storage = params.train.storage
    folder = resume.run_folder(storage, "probe")
    folder.require_writable()
    folder.remove()
    for interrupted in resume.remove_orphans(storage, _has_ended):
        run_id = interrupted.run_id[:8]
        command = f"sctransformer train --resume {run_id}"
        print(f"Note: run {run_id} ({interrupted.name}) was interrupted; `{command}` resumes it.")
    content = params.model_dump(mode="json")
    name = os.environ.get(resume.NAME_VARIABLE) or f"{params.model.mode} seed {params.seed}"
    run_id = runs.start_run(EXPERIMENT, name, content, _tags(params))
    with _closed(run_id):
        lineage = _logged_inputs(run_id, params, content)
        lock = layout.LOCK.read_bytes().decode() if lineage["dvc_lock_sha256"] else None
        overrides = json.loads(os.environ.get(resume.OVERRIDES_VARIABLE, "{}"))
        manifest = RunManifest(run_id, name, content, lineage, _input_digests(), lock, overrides)
        folder = resume.run_folder(storage, run_id)
        resume.write_manifest(folder, manifest)
        yield TrainingRun(manifest, folder, _class_names())


@contextmanager
def resume_run(params: Params, wanted: str) -> Iterator[TrainingRun]:
    """Resume an interrupted run.

    Args:
        params: all parameters.
        wanted: ID of the run, the start of its ID, or its name.

    Raises:
        UserError: there is no such run, it has ended, or its inputs have changed.
    """
    folder, manifest = resume.find_resumable_run(params.train.storage, wanted)
    for name, digest in _input_digests().items():
        if manifest.inputs.get(name) != digest:
            raise UserError(
                f"{FILES[name]}: has changed since run {wanted!r} was started; restore the cells, network and "
                "parameters it was started with, or start a new run."
            )
    manifest = manifest.with_this_process()
    resume.write_manifest(folder, manifest)
    runs.reopen_run(manifest.run_id)
    runs.set_tags(manifest.run_id, _tags(params))
    with _closed(manifest.run_id):
        yield TrainingRun(manifest, folder, _class_names())


@contextmanager
def _closed(run_id: str) -> Iterator[None]:
    """Close the run with its status, also after an error or an interruption, and store its log."""
    status: runs.Status = "FAILED"
    with watched(run_id), _logged(layout.LOGS / f"{run_id}.log") as file:
        try:
            with system_metrics(run_id):
                yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except Exception as error:
            LOG.error("%s", error)
            raise
        finally:
            LOG.info("%s", status.lower())
            outbox.log_artifact(run_id, file, "log")
            outbox.finish_run(run_id, status)


@contextmanager
def _logged(file: Path) -> Iterator[Path]:
    """Write the log of the run to a file; a resumed run appends to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.info("process %d on %s", os.getpid(), platform.node())
    try:
        yield file
    finally:
        LOG.removeHandler(handler)
        handler.close()


def _tags(params: Params) -> dict[str, str]:
    """Tags that runs can be searched by."""
    tags = {"stage": "train", "data": params.data.name, "network": params.prior.network.stem, "mode": params.model.mode}
    tags[PROCESS_TAG] = process_tag()
    if overrides := os.environ.get(resume.OVERRIDES_VARIABLE):
        tags["overrides"] = overrides
    if commit := git_commit(Path()):
        tags["mlflow.source.git.commit"] = commit
    return tags


def _class_names() -> list[str]:
    return read_class_names(layout.PREPARED_CELLS)


def _logged_inputs(run_id: str, params: Params, content: dict[str, Any]) -> dict[str, Any]:
    """Record cells and network as inputs of the run; the lineage of the model that it trains."""
    cells, network = params.data.cells, params.prior.network
    data_sha256, prior_sha256 = sha256_file(layout.CELLS), sha256_file(network)
    counts, coverage = read_json(layout.PANEL_SUMMARY)["cells"], read_json(layout.COVERAGE)
    md5 = dvc_md5(layout.CELLS)
    runs.log_dataset(run_id, cells.stem, data_sha256, str(cells), "training", counts, md5)
    runs.log_dataset(run_id, network.stem, prior_sha256, str(network), "prior", coverage, dvc_md5(network))
    if patch := code_patch(Path(), params.inputs()):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "code.patch"
            file.write_bytes(patch)
            outbox.log_artifact(run_id, file)
    if not in_git(Path()):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "code.zip"
            write_code_archive(Path(), file)
            outbox.log_artifact(run_id, file)
    validated = bool(read_json(layout.VALIDATION)["success"])
    return collect_lineage(Path(), content, data_sha256, prior_sha256, validated, run_id, params.inputs())


def _input_digests() -> dict[str, str]:
    return {name: sha256_file(path) for name, path in FILES.items()}


def _has_ended(run_id: str) -> bool:
    status = status_of(run_id)
    return status in (None, "FINISHED")
