"""Reading MLflow runs: listing, finding and comparing them. Runs whose process has ended are marked as killed."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity
from sctransformer.tracking.location import redact_credentials, tracking_uri
from sctransformer.tracking.runs import finish_run
from sctransformer.tracking.store import connect, one_sentence

EXPERIMENT = "training"
"""Experiment of the runs of `sctransformer train`."""
PROCESS_TAG = "sctransformer.process"
"""Tag with the `ProcessIdentity` of the training process, as JSON."""
_MAX_RUNS = 1000
"""Number of runs that are searched for a name."""


@dataclass(frozen=True)
class FoundRun:
    """A run, with what lists and comparisons need."""

    run_id: str
    name: str
    status: str
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`."""
    started: int
    """Milliseconds since 1970."""
    seconds: float | None
    """Duration; None while it is running."""
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    inputs: dict[str, str]
    """By context (`training`, `prior`): name and start of the digest."""


def process_tag() -> str:
    """The value of `PROCESS_TAG` for this process."""
    return json.dumps(ProcessIdentity.current().to_dict())


@one_sentence
def list_runs(experiment: str = EXPERIMENT, limit: int = _MAX_RUNS, parent: str | None = None) -> list[FoundRun]:
    """Runs of an experiment, newest first. Open runs whose process has ended are marked as killed.

    Args:
        experiment: its name; an experiment that does not exist has no runs.
        limit: largest number of runs.
        parent: only the child runs of this run.

    Raises:
        UserError: the store does not exist or cannot be used.
    """
    client = connect(must_exist=True)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    wanted = f"tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    runs = client.search_runs([found.experiment_id], wanted, max_results=limit, order_by=["start_time DESC"])
    return [_found(_up_to_date(run)) for run in runs]


@one_sentence
def find_runs(experiment: str, tags: Mapping[str, str]) -> list[FoundRun]:
    """All runs of an experiment that have these tags, oldest first; none if the experiment does not exist."""
    client = connect()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs, token = [], None
    while True:
        page = client.search_runs([found.experiment_id], wanted, order_by=["start_time ASC"], page_token=token)
        runs += [_found(run) for run in page]
        token = page.token
        if not token:
            return runs


def find_run(wanted: str, among: Sequence[FoundRun]) -> FoundRun:
    """The run with this ID, start of an ID, or name; the newest of several with one name.

    Raises:
        UserError: no run matches, or the start of an ID is ambiguous.
    """
    named = [run for run in among if wanted in (run.run_id, run.name)]
    matches = [run for run in among if run.run_id.startswith(wanted)]
    if named:
        return named[0]
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} runs match; give more of the ID" if matches else "see `sctransformer runs`"
    raise UserError(f"{redact_credentials(tracking_uri())}: does not have exactly one run {wanted!r}; {problem}.")


@one_sentence
def status_of(run_id: str) -> str | None:
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`; None if the run does not exist or was deleted."""
    client = connect()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if run.info.lifecycle_stage == LifecycleStage.DELETED else str(run.info.status)


def finished_run(wanted: str) -> str | None:
    """ID of the finished training run with this ID, start of an ID, or name; None if there is none."""
    try:
        run = find_run(wanted, list_runs())
    except UserError:
        return None
    return run.run_id if run.status == "FINISHED" else None


def differing_params(runs: Sequence[FoundRun]) -> dict[str, list[str | None]]:
    """Parameters that differ between runs: the value in each run, None if a run does not have the parameter."""
    names = sorted({name for run in runs for name in run.params})
    values = {name: [run.params.get(name) for run in runs] for name in names}
    return {name: own for name, own in values.items() if len(set(own)) > 1}


def _up_to_date(run: Run) -> Run:
    """The run, marked as killed first if it is open and its process has ended."""
    tag = run.data.tags.get(PROCESS_TAG)
    if run.info.status != "RUNNING" or tag is None:
        return run
    try:
        if ProcessIdentity.from_json(tag).is_alive() is not False:
            return run
    except ValueError:  # edited by hand
        return run
    with contextlib.suppress(UserError):
        finish_run(run.info.run_id, "KILLED")
    return connect().get_run(run.info.run_id)


def _found(run: Run) -> FoundRun:
    ended = run.info.end_time
    inputs: dict[str, str] = {}
    for given in run.inputs.dataset_inputs if run.inputs else []:
        tags: dict[str, Any] = {tag.key: tag.value for tag in given.tags}
        inputs[str(tags.get("mlflow.data.context", ""))] = f"{given.dataset.name} {given.dataset.digest[:8]}"
    return FoundRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started=run.info.start_time,
        seconds=None if ended is None else (ended - run.info.start_time) / 1000,
        metrics=dict(run.data.metrics),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        inputs=inputs,
    )
