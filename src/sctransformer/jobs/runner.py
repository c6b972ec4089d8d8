"""One run of a job: label new files, check them for drift, keep a record, report to MLflow."""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sctransformer.annotation.files import FileOutcome, annotate_each
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import FileAnnotator
from sctransformer.annotation.scorer import Scorer
from sctransformer.annotation.sources import Source, find_sources
from sctransformer.annotation.stream import Progress
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.errors import UNEXPECTED, BusyError, UserError, exit_code_of
from sctransformer.jobs import mlflow_run
from sctransformer.jobs.checks import hooks_of, verdict_of
from sctransformer.jobs.history import History, RunRecord
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import alarm
from sctransformer.monitor.report import JobState, write_report

ALARM, METRICS_KEPT = 4, 5
"""Exit codes in addition to those of `sctransformer.errors`; see `exit_code`."""

OnFile = Callable[[FileOutcome], None]


def run_job(
    job: Job,
    start: Callable[[], tuple[Model, Scorer]],
    on_progress: Progress = lambda done, total: None,
    on_file: OnFile = lambda outcome: None,
) -> RunRecord:
    """Label the files of a job's input that are not labelled yet.

    Args:
        start: returns the model that the job's reference names now, which the whole run uses, and a scorer for it.
        on_progress: called with the number of cells done in the current file, and the number of its cells.
        on_file: called after each file.

    Returns:
        The record, with the exit code. It is stored, also in MLflow unless `mlflow_run` is None.

    Raises:
        UserError: `start` failed or the input cannot be listed, which is recorded; or the output folder cannot be used.
        BusyError: another run of this job is running.
    """
    history = History(job)
    with history.locked():
        record = RunRecord(job.name, _now(), job.model)
        history.write_run(record)
        try:
            _label(job, start, record, history, on_progress, on_file)
        except UserError as error:
            record.error, record.exit_code, record.ended = str(error), error.exit_code, _now()
            history.write_run(record)
            mlflow_run.report_failure(job, record)
            history.write_run(record)
            raise
        except Exception as error:  # a bug: the record must not look like that of a run that still works
            record.error, record.exit_code = f"unexpected error: {type(error).__name__}: {error}", UNEXPECTED
            record.ended = _now()
            history.write_run(record)
            raise
    return record


def _label(
    job: Job,
    start: Callable[[], tuple[Model, Scorer]],
    record: RunRecord,
    history: History,
    on_progress: Progress,
    on_file: OnFile,
) -> None:
    model, scorer = start()
    record.version, record.identity = model.version, model.bundle.identity
    sources = find_sources(job.input, job.output, may_be_none=True)
    mlflow_run.begin(job, record, history)
    started = time.perf_counter()
    outcomes = []
    annotator = FileAnnotator(model, job.output, job.settings, scorer, hooks_of(job, model.bundle), on_progress)
    for outcome in annotate_each(annotator, sources):
        outcomes.append(outcome)
        record.files.append(_of_file(outcome))
        if outcome.summary is not None:
            batch = _batch(job, model, outcome.source, outcome.summary)
            record.new_batches += history.add_batch(batch) and batch["judged"]
        on_file(outcome)
    record.seconds, record.ended = time.perf_counter() - started, _now()
    batches = history.batches()
    record.alarm = raised(job, batches)
    record.shifted_regulators = mlflow_run.shifted_regulators(outcomes)
    record.metrics = mlflow_run.metrics_of(outcomes, record)
    if record.count("labelled") or record.count("failed"):
        write_report(history.report, state_of(job, history), model.bundle)
    sent = mlflow_run.end(job, record, history)
    record.exit_code = exit_code(job, outcomes, record, sent)
    history.write_run(record)


def state_of(job: Job, history: History) -> JobState:
    """What the drift report shows of a job."""
    batches = history.batches()
    return JobState(job.name, batches, history.failed_files(), job.drift.model_dump(), raised(job, batches))


def raised(job: Job, batches: list[dict[str, Any]]) -> bool:
    """Whether the batches raise the drift alarm of the job; only batches labelled by the most recent model count.

    Another model was trained on other cells, so its batches are not comparable.
    """
    judged = [batch for batch in batches if batch["judged"]]
    drifted = [bool(batch["drifted"]) for batch in judged if batch["model_identity"] == judged[-1]["model_identity"]]
    return alarm(drifted, job.drift)


def exit_code(job: Job, outcomes: list[FileOutcome], record: RunRecord, sent: bool) -> int:
    """Exit code of a run.

    0: all files are labelled, or there was nothing to do. 1 or 73: every file failed for that kind of reason. 3: some
    files failed. 4: new batches raise the drift alarm or keep it raised, and the job file makes that a failure. 75: a
    file is in use by another process, the others are labelled. 5: all files are labelled, but MLflow could not be
    reached yet.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None and not _waits(outcome)]
    if errors:
        return exit_code_of(errors, len(outcomes))
    if record.alarm and record.new_batches and job.drift.fail:
        return ALARM
    if record.count("waiting"):
        return BusyError.exit_code
    return 0 if sent else METRICS_KEPT


def _waits(outcome: FileOutcome) -> bool:
    return isinstance(outcome.error, BusyError)


def _of_file(outcome: FileOutcome) -> dict[str, Any]:
    if outcome.summary is None:
        status = "waiting" if _waits(outcome) else "failed"
        return {"source": str(outcome.source), "status": status, "error": str(outcome.error)}
    summary = outcome.summary
    return {
        "source": str(outcome.source),
        "status": "unchanged" if summary.unchanged else "labelled",
        "output": str(summary.output),
        "output_id": summary.job_id,
        "cells": summary.cells,
        "rejected": summary.rejected,
        "rejected_by": summary.rejected_by,
        "coverage": summary.coverage,
        "labels": summary.labels,
        "drift": summary.flags.get("drift", ""),
        "validation": summary.validation,
    }


def _batch(job: Job, model: Model, source: Source, summary: AnnotationSummary) -> dict[str, Any]:
    verdict = verdict_of(job, model.bundle, summary.profile)
    return {
        "time": _now(),
        "source": str(source),
        "output": str(summary.output),
        "output_id": summary.job_id,
        "model_version": model.version,
        "model_identity": model.bundle.identity,
        "cells": summary.cells,
        "rejected": summary.rejected,
        "judged": verdict.judged,
        "drifted": verdict.drifted,
        "drift": verdict.sentence(),
        "figures": verdict.values,
        "limits": verdict.limits,
        "genes": [asdict(gene) for gene in verdict.genes],
        "regulators": [asdict(one) for one in verdict.regulators],
        "regulators_note": verdict.regulators_note,
        "profile": summary.profile,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
