"""History of a job in its output folder: one JSON file per run, and one line per labelled batch."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sctransformer.annotation.journal import FOLDER, Journal
from sctransformer.errors import BusyError, UserError
from sctransformer.files import inside, read_json, write_json
from sctransformer.jobs.spec import Job

logger = logging.getLogger(__name__)

_OF_A_BATCH = {
    "time", "source", "output_id", "model_version", "model_identity", "cells", "rejected", "judged", "drifted", "drift",
    "figures", "limits", "profile",
}  # fmt: skip
"""Fields of a line of batches.jsonl; a line without one of them is damaged."""


@dataclass
class RunRecord:
    """One run of a job."""

    job: str
    started: str
    """UTC, ISO 8601."""
    model: str
    """Reference in the job file."""
    version: str = ""
    """Version that the reference named; empty if it could not be resolved."""
    identity: str = ""
    """Identity of the bundle."""
    ended: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    """None if the run was killed."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """source, status (labelled, unchanged, waiting, failed), and output, cells, rejected, drift or error. A file waits
    while another process uses it; the next run labels it."""
    error: str = ""
    """Why the run was aborted; empty if it was not."""
    metrics: dict[str, float] = field(default_factory=dict)
    """As in MLflow."""
    shifted_regulators: list[str] = field(default_factory=list)
    """Regulators that shifted in a batch that this run labelled."""
    new_batches: int = 0
    """Number of batches checked for drift for the first time."""
    alarm: bool = False
    """Whether the batches up to now raise the drift alarm."""
    mlflow_run: str | None = None
    """None if MLflow could not be reached; the next run sends the record."""

    def count(self, status: str) -> int:
        """Number of files with a status."""
        return sum(file["status"] == status for file in self.files)


class History:
    """History of one job. Use `locked` around everything that writes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        inside(job.output, Path(FOLDER))
        self.report = inside(job.output, job.report)
        self._journal = Journal(job.output / f"job-{job.name}")
        self._known: set[tuple[str, str]] | None = None
        self._warned: set[Path] = set()
        self._runs, self._batches = self._journal.folder / "runs", self._journal.folder / "batches.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only run of this job.

        Raises:
            BusyError: another run of the job is running.
            OutputError: the output folder cannot be written.
        """
        try:
            with self._journal.locked():
                yield
        except BusyError as error:
            if str(self._journal.target) not in str(error):
                raise
            raise BusyError(f"job {self.job.name}: another run of it is running; nothing was done.") from error

    def write_run(self, record: RunRecord) -> None:
        """Write the record of a run, or update it."""
        write_json(self._runs / f"{record.started.replace(':', '')}.json", asdict(record))

    def runs(self) -> list[RunRecord]:
        """All runs, oldest first; a damaged record is skipped with a warning: it must not stop the job."""
        found = []
        for path in sorted(self._runs.glob("*.json")):
            try:
                found.append(_record(read_json(path), path))
            except UserError as error:
                if path not in self._warned:
                    logger.warning("%s This record of a run is skipped; delete the file.", error)
                self._warned.add(path)
        return found

    def failed_files(self) -> list[dict[str, str]]:
        """The files whose last try failed, the latest first: time, source, error."""
        last: dict[str, dict[str, str]] = {}
        for record in self.runs():
            for file in record.files:
                if file["status"] == "failed":
                    last[file["source"]] = {
                        "time": record.started,
                        "source": file["source"],
                        "error": str(file.get("error", "")),
                    }
                elif file["status"] != "waiting":
                    last.pop(file["source"], None)
        return sorted(last.values(), key=lambda one: one["time"], reverse=True)

    def add_batch(self, batch: dict[str, Any]) -> bool:
        """Add a labelled batch; it is on disk when this returns. False if it was there already."""
        if self._known is None:
            self._known = {(one["source"], one["output_id"]) for one in self.batches()}
        if (batch["source"], batch["output_id"]) in self._known:
            return False
        self._known.add((batch["source"], batch["output_id"]))
        self._batches.parent.mkdir(parents=True, exist_ok=True)
        with self._batches.open("a") as stream:
            stream.write(json.dumps(batch, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        return True

    def batches(self) -> list[dict[str, Any]]:
        """All labelled batches, oldest first; a damaged line, as one cut by a kill, is skipped."""
        found = []
        for line in self._batches.read_bytes().splitlines() if self._batches.exists() else []:
            try:
                batch = json.loads(line)
            except ValueError:
                continue
            if isinstance(batch, dict) and batch.keys() >= _OF_A_BATCH:
                found.append(batch)
        return found


def _record(content: Any, path: Path) -> RunRecord:
    """The record of a run from its JSON; fields of later versions are ignored.

    Raises:
        UserError: it is not the record of a run.
    """
    known = {one.name for one in fields(RunRecord)}
    try:
        record = RunRecord(**{name: value for name, value in content.items() if name in known})
        sound = all({"source", "status"} <= file.keys() for file in record.files) and isinstance(record.metrics, dict)
    except (AttributeError, TypeError):
        sound = False
    if not sound or not isinstance(record.started, str):
        raise UserError(f"{path}: is not the record of a run, although it is JSON.")
    return record
