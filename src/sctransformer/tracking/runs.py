"""Writing MLflow runs: parameters, inputs, metrics per epoch, artifacts. There is no global active run."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from flatten_dict import flatten
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.tracking.location import redact_credentials, tracking_uri
from sctransformer.tracking.source import account
from sctransformer.tracking.store import connect_to_write, experiment_id, one_sentence

Status = Literal["FINISHED", "FAILED", "KILLED"]
PARENT_TAG = "mlflow.parentRunId"
"""Tag by which MLflow shows a run as the child of another."""

_LONGEST_PARAM = 6000
_LONGEST_DIGEST = 36
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_EPOCH = "epoch"
"""Metric that marks an epoch as logged: it is part of the last call for the epoch."""
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")


@one_sentence
def start_run(experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Start a run.

    Args:
        experiment: it is created if it does not exist.
        name: of the run.
        params: may be nested; `{"train": {"lr": 0.1}}` becomes `train.lr`. Values are cut at 6,000 characters.
        tags: of the run.

    Returns:
        The ID of the run.

    Raises:
        UserError: the store cannot be used.
    """
    client = connect_to_write()
    tags = {"mlflow.user": account(), **tags}
    run = client.create_run(experiment_id(client, experiment), run_name=name, tags=tags)
    flat = [
        Param(_allowed(key), (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST_PARAM])
        for key, value in flatten(params, "dot", keep_empty_types=(dict,)).items()
    ]
    for start in range(0, len(flat), _PARAMS_PER_CALL):
        client.log_batch(run.info.run_id, params=flat[start : start + _PARAMS_PER_CALL])
    run_id: str = run.info.run_id
    return run_id


@one_sentence
def log_dataset(
    run_id: str,
    name: str,
    digest: str,
    source_path: str,
    context: str,
    profile: Mapping[str, Any] | None = None,
    dvc_md5: str | None = None,
) -> None:
    """Record data as an input of the run.

    Args:
        name: of the data.
        digest: SHA-256 of its content. MLflow keeps 36 characters of a digest; the tag `sha256` has all of them.
        source_path: of the file.
        context: its use, for example `training` or `prior`.
        profile: summary numbers.
        dvc_md5: the hash that DVC recorded; becomes the tag `dvc.md5`.

    Raises:
        UserError: the run is not in the store.
    """
    client = _client_of(run_id)
    dataset = Dataset(
        name=name,
        digest=digest[:_LONGEST_DIGEST],
        source_type="local",
        source=json.dumps({"uri": source_path}),
        profile=json.dumps(dict(profile or {})),
    )
    tags = [InputTag("mlflow.data.context", context), InputTag("sha256", digest)]
    if dvc_md5 is not None:
        tags.append(InputTag("dvc.md5", dvc_md5))
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])


@one_sentence
def log_epoch(run_id: str, epoch: int, metrics: Mapping[str, float], at: int | None = None) -> None:
    """Log the metrics of an epoch, unless the run already has that epoch, from this or another process.

    After a restart, training repeats the epochs since its last checkpoint; the curves keep one point per epoch.

    Args:
        run_id: of the run.
        epoch: the step of the metrics.
        metrics: by name.
        at: time in milliseconds since 1970; now by default.

    Raises:
        UserError: the run is not in the store.
    """
    client = connect_to_write(must_exist=True)
    if any(point.step == epoch for point in client.get_metric_history(run_id, _EPOCH)):
        return
    now = milliseconds() if at is None else at
    # Each call is one transaction, and the marker is in the last: after a crash the epoch is logged again.
    points = [Metric(name, value, now, epoch) for name, value in _named(metrics).items() if name != _EPOCH]
    points.append(Metric(_EPOCH, float(epoch), now, epoch))
    for start in range(0, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])


@one_sentence
def log_metrics(run_id: str, metrics: Mapping[str, float], at: int | None = None) -> None:
    """Log metrics of the run as a whole, with their time if it is not now.

    Raises:
        UserError: the run is not in the store.
    """
    client = _client_of(run_id)
    now = milliseconds() if at is None else at
    points = [Metric(name, value, now, 0) for name, value in _named(metrics).items()]
    for start in range(0, len(points), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_PER_CALL])


@one_sentence
def log_artifact(run_id: str, path: Path, folder: str | None = None) -> None:
    """Copy a file or a folder to the artifacts of the run.

    Raises:
        UserError: the file does not exist, or the run is not in the store.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, so it cannot be kept with run {run_id}.")
    _client_of(run_id).log_artifact(run_id, str(path), folder)


@one_sentence
def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of the run; existing tags are replaced.

    Raises:
        UserError: the run is not in the store.
    """
    client = _client_of(run_id)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


@one_sentence
def finish_run(run_id: str, status: Status, at: int | None = None) -> None:
    """End the run, with the time at which it ended if that is not now.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).set_terminated(run_id, status, at)


@one_sentence
def reopen_run(run_id: str) -> None:
    """Mark a run as running again, when it is resumed.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).update_run(run_id, status="RUNNING")


@one_sentence
def delete_run(run_id: str) -> None:
    """Mark a run as deleted in MLflow, for one that was written only in part.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).delete_run(run_id)


@one_sentence
def require_run(run_id: str) -> None:
    """Check that the run exists.

    Raises:
        UserError: it is not in the store, or was deleted.
    """
    _client_of(run_id)


def _client_of(run_id: str) -> MlflowClient:
    """A client of the store, which must have the run."""
    client = connect_to_write(must_exist=True)
    store = redact_credentials(tracking_uri())
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"{store}: has no run {run_id}; was it made with another MLFLOW_TRACKING_URI?") from error
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        raise UserError(f"{store}: run {run_id} was deleted; restore it in MLflow.")
    return client


def _named(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under names that MLflow allows; names that would become equal get a number."""
    named: dict[str, float] = {}
    for original, value in metrics.items():
        name, number = _allowed(original), 2
        while name in named:
            name, number = f"{_allowed(original)}_{number}", number + 1
        named[name] = float(value)
    return named


def _allowed(name: str) -> str:
    """The name with every character that MLflow refuses replaced, and no empty, `.` or `..` part of a path."""
    parts = [part for part in _NOT_IN_NAMES.sub("_", name).split("/") if part.strip(".")]
    return "/".join(parts) or "_"


def milliseconds() -> int:
    """The current time in milliseconds since 1970, as MLflow stores it."""
    return int(time.time() * 1000)
