"""The MLflow run of a job's run: metrics, and a report that is sent later if MLflow is unreachable."""

import sys

from sctransformer.annotation.files import FileOutcome
from sctransformer.annotation.labelling import REASONS
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.errors import UserError
from sctransformer.jobs.history import History, RunRecord
from sctransformer.jobs.spec import Job

_LONGEST_TAG = 5000


def metrics_of(outcomes: list[FileOutcome], record: RunRecord) -> dict[str, float]:
    """Metrics of a run: counts, and fractions and means over the cells that it labelled."""
    fresh = _labelled_now(outcomes)
    metrics: dict[str, float] = {
        f"files_{status}": record.count(status) for status in ("labelled", "unchanged", "waiting", "failed")
    }
    metrics |= {"seconds": record.seconds, "drift_alarm": float(record.alarm)}
    cells = sum(summary.cells for summary in fresh)
    metrics["cells"] = cells
    if not cells:
        return metrics
    metrics["rejected_share"] = sum(summary.rejected for summary in fresh) / cells
    for reason in REASONS:
        metrics[f"rejected_share/{reason}"] = sum(one.rejected_by.get(reason, 0) for one in fresh) / cells
    metrics["mean_confidence"] = sum(summary.mean_confidence * summary.cells for summary in fresh) / cells
    metrics["gene_coverage_min"] = min(summary.coverage for summary in fresh)
    scoring = sum(summary.seconds for summary in fresh)
    metrics["cells_per_second"] = cells / scoring if scoring else 0.0
    metrics["validation_warnings"] = sum(len(summary.validation.get("warnings", [])) for summary in fresh)
    metrics["regulators_shifted"] = len(record.shifted_regulators)
    metrics["batches_drifted"] = sum(bool(summary.flags.get("drifted")) for summary in fresh)
    labels = sorted({label for summary in fresh for label in summary.labels})
    for label in labels:
        metrics[f"label_share/{label}"] = sum(summary.labels.get(label, 0) for summary in fresh) / cells
    return metrics


def shifted_regulators(outcomes: list[FileOutcome]) -> list[str]:
    """Regulators that shifted in a batch that was labelled now, sorted."""
    named = [summary.flags.get("shifted_regulators", "") for summary in _labelled_now(outcomes)]
    return sorted({name for names in named for name in names.split(", ") if name})


def _labelled_now(outcomes: list[FileOutcome]) -> list[AnnotationSummary]:
    return [one.summary for one in outcomes if one.summary is not None and not one.summary.unchanged]


def begin(job: Job, record: RunRecord, history: History) -> None:
    """Start the MLflow run, and send what earlier runs could not send; labels do not wait for MLflow."""
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


def _store_exists() -> bool:
    """Whether the store exists: a run that fails to start, perhaps in a wrong folder, creates none."""
    from sctransformer.tracking.store import connect

    try:
        connect(must_exist=True)
    except UserError:
        return False
    return True


def _opened(job: Job, record: RunRecord, warn: bool = False) -> bool:
    """Start the MLflow run; False, with the reason on standard error if wanted, if the store cannot be used."""
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
    except UserError as error:
        if warn:
            print(f"Warning: {error}", file=sys.stderr)
        return False
    return True


def end(job: Job, record: RunRecord, history: History) -> bool:
    """Report the end of the run; False if MLflow is unreachable: the next run sends the report."""
    from sctransformer.tracking import outbox

    if record.mlflow_run is None and not _opened(job, record, warn=True):
        return False
    _send(record)
    run_id = record.mlflow_run
    if history.report.exists() and record.count("labelled") + record.count("failed") and run_id is not None:
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
        shifted = ", ".join(record.shifted_regulators)[:_LONGEST_TAG]
        tags = {"sctransformer.shifted_regulators": shifted} if shifted else {}
        outbox.set_tags(run_id, {"sctransformer.drift": "alarm" if record.alarm else "quiet"} | tags)
    all_failed = 0 < record.count("failed") == len(record.files)
    outbox.finish_run(run_id, "FAILED" if record.error or all_failed else "FINISHED")


def report_failure(job: Job, record: RunRecord) -> None:
    """Report a run that failed to start or to list its input, if the store exists."""
    if record.mlflow_run is not None or (_store_exists() and _opened(job, record)):
        _send(record)
