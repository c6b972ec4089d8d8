"""One run of a job: label whatever arrived, watch over drift, keep a record, tell MLflow."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sctransformer.annotation.files import FileOutcome, annotate_each
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import FileAnnotator
from sctransformer.annotation.scorer import Scorer
from sctransformer.annotation.sources import Source, find_sources
from sctransformer.annotation.stream import Progress
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.errors import BusyError, UserError, exit_code_of
from sctransformer.jobs.checks import hooks_of, verdict_of
from sctransformer.jobs.history import History, RunRecord
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import alarm

ALARM, FIGURES_KEPT = 4, 5
"""Exit codes of a run beside those of `sctransformer.errors`; see `exit_code`."""
_LONGEST_TAG = 5000

OnFile = Callable[[FileOutcome], None]


def run_job(
    job: Job,
    start: Callable[[], tuple[Model, Scorer]],
    on_progress: Progress = lambda done, total: None,
    on_file: OnFile = lambda outcome: None,
) -> RunRecord:
    """Label what the job's input holds and is not labelled yet.

    Args:
        start: gives what the job's model stands for now, which the whole run uses, and a scorer of it.
        on_progress: called with the cells of the current file done, and the cells it has.
        on_file: called after each file.

    Returns:
        The record, with the exit code; it is kept, and MLflow has it unless `mlflow_run` is None.

    Raises:
        UserError: of `start`, or the input cannot be listed: the record says so. Or the output folder cannot be used.
        BusyError: another run of this job is at work.
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
            if record.mlflow_run is not None or (_store_is_there() and _opened(job, record)):
                _send(record)
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
    _begin(job, record, history)
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
    record.metrics = metrics_of(outcomes, record)
    if record.count("labelled"):
        from sctransformer.monitor.report import write_report  # matplotlib takes a second

        write_report(history.report, job.name, batches, model.bundle, job.drift.model_dump(), record.alarm)
    sent = _end(job, record, history)
    record.exit_code = exit_code(job, outcomes, record, sent)
    history.write_run(record)


def raised(job: Job, batches: list[dict[str, Any]]) -> bool:
    """Whether the job's rule makes an alarm of its batches: of those that the model of the last one labelled.

    Another model sees the same cells in another way, and was trained on others: its batches say nothing of this one's.
    """
    judged = [batch for batch in batches if batch["judged"]]
    drifted = [bool(batch["drifted"]) for batch in judged if batch["model_identity"] == judged[-1]["model_identity"]]
    return alarm(drifted, job.drift)


def exit_code(job: Job, outcomes: list[FileOutcome], record: RunRecord, sent: bool) -> int:
    """0 all labelled, or there was nothing to do; 1 or 73 no file could be, all for that kind of reason; 3 some could
    not; 4 new batches raise the drift alarm or keep it up, and the job file makes that a failure; 75 a file waits for
    another process, the others are labelled; 5 all labelled, and MLflow could not be told yet.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None and not _waits(outcome)]
    if errors:
        return exit_code_of(errors, len(outcomes))
    if record.alarm and record.new_batches and job.drift.fail:
        return ALARM
    if record.count("waiting"):
        return BusyError.exit_code
    return 0 if sent else FIGURES_KEPT


def metrics_of(outcomes: list[FileOutcome], record: RunRecord) -> dict[str, float]:
    """Figures of a run: counts, and of the cells labelled in it shares and means."""
    fresh = [one.summary for one in outcomes if one.summary is not None and not one.summary.unchanged]
    metrics: dict[str, float] = {
        f"files_{status}": record.count(status) for status in ("labelled", "unchanged", "waiting", "failed")
    }
    metrics |= {"seconds": record.seconds, "drift_alarm": float(record.alarm)}
    cells = sum(summary.cells for summary in fresh)
    metrics["cells"] = cells
    if not cells:
        return metrics
    metrics["rejected_share"] = sum(summary.rejected for summary in fresh) / cells
    metrics["mean_confidence"] = sum(summary.mean_confidence * summary.cells for summary in fresh) / cells
    metrics["gene_coverage_min"] = min(summary.coverage for summary in fresh)
    scoring = sum(summary.seconds for summary in fresh)
    metrics["cells_per_second"] = cells / scoring if scoring else 0.0
    metrics["validation_warnings"] = sum(len(summary.validation.get("warnings", [])) for summary in fresh)
    metrics["batches_drifted"] = sum(bool(summary.flags.get("drifted")) for summary in fresh)
    labels = sorted({label for summary in fresh for label in summary.labels})
    for label in labels:
        metrics[f"label_share/{label}"] = sum(summary.labels.get(label, 0) for summary in fresh) / cells
    return metrics


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
        "profile": summary.profile,
    }


def _begin(job: Job, record: RunRecord, history: History) -> None:
    """Open a run in MLflow, and send what earlier runs could not; if that cannot be, the labels come first."""
    from sctransformer.tracking import outbox

    for earlier in history.runs():
        if earlier.mlflow_run is None and earlier.ended and earlier.started != record.started:
            if not _opened(job, earlier):
                return
            _send(earlier)
            history.write_run(earlier)
    outbox.send_all()
    _opened(job, record)
    history.write_run(record)


def _store_is_there() -> bool:
    """Whether MLflow can be told: a run that does not start, perhaps in a wrong folder, makes no store."""
    from sctransformer.tracking.store import connect

    try:
        connect(must_exist=True)
    except UserError:
        return False
    return True


def _opened(job: Job, record: RunRecord) -> bool:
    from sctransformer.tracking import runs

    params = {"job": job.model_dump(mode="json"), "model_version": record.version}
    tags = {
        "sctransformer.job": job.name,
        "sctransformer.model": record.model,
        "sctransformer.model_version": record.version,
        "sctransformer.model_identity": record.identity,
        "sctransformer.started": record.started,
    }
    try:
        record.mlflow_run = runs.start_run(job.experiment, f"{job.name} {record.started}", params, tags)
    except UserError:
        return False
    return True


def _end(job: Job, record: RunRecord, history: History) -> bool:
    """Tell MLflow how the run ended; False if that cannot be now: it is kept and sent by the next run."""
    from sctransformer.tracking import outbox

    if record.mlflow_run is None and not _opened(job, record):
        return False
    _send(record)
    run_id = record.mlflow_run
    if history.report.exists() and record.count("labelled") and run_id is not None:
        outbox.log_artifact(run_id, history.report)
    return run_id is not None and outbox.unsent(run_id) == 0


def _send(record: RunRecord) -> None:
    from sctransformer.tracking import outbox

    run_id = record.mlflow_run
    if run_id is None:
        return
    outbox.log_metrics(run_id, record.metrics)
    if record.error:
        outbox.set_tags(run_id, {"sctransformer.error": record.error[:_LONGEST_TAG]})
    else:
        outbox.set_tags(run_id, {"sctransformer.drift": "alarm" if record.alarm else "quiet"})
    all_failed = 0 < record.count("failed") == len(record.files)
    outbox.finish_run(run_id, "FAILED" if record.error or all_failed else "FINISHED")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
