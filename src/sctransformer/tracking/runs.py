"""What a run keeps: parameters, the data it saw, metrics by epoch, files. There is no global active run."""

import getpass
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flatten_dict import flatten
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.tracking.store import connect, experiment_id, one_sentence, redact_credentials, tracking_uri

Status = Literal["FINISHED", "FAILED", "KILLED"]
PARENT_TAG = "mlflow.parentRunId"
"""Tag by which MLflow shows a run under another one."""

_LONGEST_PARAM = 6000
_LONGEST_DIGEST = 36
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_EPOCH = "epoch"
"""The metric that marks an epoch as logged: it goes into the last call of the epoch."""
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")


class FoundRun(NamedTuple):
    """A run that a search gave."""

    run_id: str
    status: str
    """`RUNNING` or a `Status`."""
    tags: dict[str, str]


@one_sentence
def start_run(experiment: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Open a run.

    Args:
        experiment: created if it is not there.
        name: of the run, for people.
        params: may be nested; `{"train": {"lr": 0.1}}` becomes `train.lr`. Values are cut at 6,000 characters.
        tags: on the run.

    Returns:
        The id of the run.

    Raises:
        UserError: the store cannot be used.
    """
    client = connect()
    tags = {"mlflow.user": _user(), **tags}
    run = client.create_run(experiment_id(client, experiment), run_name=name, tags=tags)
    flat = [
        Param(_allowed(key), (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST_PARAM])
        for key, value in flatten(params, "dot", keep_empty_types=(dict,)).items()
    ]
    for start in range(0, len(flat), _PARAMS_A_CALL):
        client.log_batch(run.info.run_id, params=flat[start : start + _PARAMS_A_CALL])
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
        digest: SHA-256 of its content. MLflow keeps 36 characters of a digest; the whole of it is the tag `sha256`.
        source_path: where it lies.
        context: what it was used for, for example `training` or `prior`.
        profile: figures about it.
        dvc_md5: the hash by which DVC knows it; the tag `dvc.md5`.

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
    """Log the metrics of an epoch once: an epoch that is there already, from whichever process, is left as it is.

    After a restart training repeats the epochs since its last checkpoint; the run's curves keep one point an epoch.

    Args:
        run_id: of the run.
        epoch: the step under which the metrics are logged.
        metrics: by name.
        at: when it was, in milliseconds; now by default.

    Raises:
        UserError: the run is not in the store.
    """
    client = connect(must_exist=True)
    if any(point.step == epoch for point in client.get_metric_history(run_id, _EPOCH)):
        return
    now = milliseconds() if at is None else at
    # A call is one transaction, and the marker is in the last one: a crash leaves an epoch that is logged again.
    points = [Metric(name, value, now, epoch) for name, value in _named(metrics).items() if name != _EPOCH]
    points.append(Metric(_EPOCH, float(epoch), now, epoch))
    for start in range(0, len(points), _METRICS_A_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_A_CALL])


@one_sentence
def log_metrics(run_id: str, metrics: Mapping[str, float], at: int | None = None) -> None:
    """Log figures that belong to the run as a whole, with the time at which they came about if that is not now.

    Raises:
        UserError: the run is not in the store.
    """
    client = _client_of(run_id)
    now = milliseconds() if at is None else at
    points = [Metric(name, value, now, 0) for name, value in _named(metrics).items()]
    for start in range(0, len(points), _METRICS_A_CALL):
        client.log_batch(run_id, metrics=points[start : start + _METRICS_A_CALL])


@one_sentence
def log_artifact(run_id: str, path: Path, folder: str | None = None) -> None:
    """Copy a file, or a folder with what is in it, to the run's artifacts.

    Raises:
        UserError: there is no such file, or the run is not in the store.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, so it cannot be kept with run {run_id}.")
    _client_of(run_id).log_artifact(run_id, str(path), folder)


@one_sentence
def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of the run; a tag that is there gets the new value.

    Raises:
        UserError: the run is not in the store.
    """
    client = _client_of(run_id)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)


@one_sentence
def finish_run(run_id: str, status: Status, at: int | None = None) -> None:
    """Close the run, with the time at which it ended if that is not now.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).set_terminated(run_id, status, at)


@one_sentence
def reopen_run(run_id: str) -> None:
    """Mark a run as going on, for work that is taken up again.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).update_run(run_id, status="RUNNING")


@one_sentence
def find_runs(experiment: str, tags: Mapping[str, str]) -> list[FoundRun]:
    """Runs of an experiment that carry all these tags, the oldest first; none if there is no such experiment."""
    client = connect()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs, token = [], None
    while True:
        page = client.search_runs([found.experiment_id], wanted, order_by=["start_time ASC"], page_token=token)
        runs += [FoundRun(run.info.run_id, run.info.status, dict(run.data.tags)) for run in page]
        token = page.token
        if not token:
            return runs


@one_sentence
def delete_run(run_id: str) -> None:
    """Move a run to MLflow's trash: for one that was left half written.

    Raises:
        UserError: the run is not in the store.
    """
    _client_of(run_id).delete_run(run_id)


@one_sentence
def require_run(run_id: str) -> None:
    """Check that the run is there.

    Raises:
        UserError: it is not in the store, or it was deleted.
    """
    _client_of(run_id)


def _client_of(run_id: str) -> MlflowClient:
    """A client of the store that holds the run."""
    client = connect(must_exist=True)
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
    """Metrics under names that MLflow allows; two that would fall together get a number."""
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
    """Now, as MLflow counts."""
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a user id that has no name
        return "unknown"
