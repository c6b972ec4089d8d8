"""Runs that are there: found, compared, and said to be killed where their process is no more."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity
from sctransformer.tracking.runs import finish_run
from sctransformer.tracking.store import connect, one_sentence, redact_credentials, tracking_uri

EXPERIMENT = "training"
"""Of the runs of `sctransformer train`."""
PROCESS_TAG = "sctransformer.process"
"""Host, pid and start of the process that trains."""
_MOST = 1000
"""Runs that are looked through for a name."""


@dataclass(frozen=True)
class FoundRun:
    """A run, as far as lists and comparisons want to know it."""

    run_id: str
    name: str
    status: str
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`."""
    started: int
    """In milliseconds since 1970."""
    seconds: float | None
    """How long it took; None while it runs."""
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    inputs: dict[str, str]
    """By context (`training`, `prior`): name and the beginning of the digest."""


def process_tag() -> str:
    """The value of `PROCESS_TAG` for this process."""
    return json.dumps(ProcessIdentity.current().to_dict())


@one_sentence
def list_runs(experiment: str = EXPERIMENT, limit: int = _MOST, parent: str | None = None) -> list[FoundRun]:
    """Runs of an experiment, the youngest first; those of which it is known that they were killed say so.

    Args:
        experiment: its name; none is as good as an empty one.
        limit: most runs.
        parent: only runs under this one.

    Raises:
        UserError: there is no store, or it cannot be used.
    """
    client = connect(must_exist=True)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    wanted = f"tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    runs = client.search_runs([found.experiment_id], wanted, max_results=limit, order_by=["start_time DESC"])
    return [_found(_as_it_is(run)) for run in runs]


def find_run(wanted: str, among: Sequence[FoundRun]) -> FoundRun:
    """The run with this id, beginning of an id, or name; of several with one name the youngest.

    Raises:
        UserError: there is none, or the beginning of an id is that of several.
    """
    named = [run for run in among if wanted in (run.run_id, run.name)]
    begins = [run for run in among if run.run_id.startswith(wanted)]
    if named:
        return named[0]
    if len(begins) == 1:
        return begins[0]
    problem = f"{len(begins)} runs begin so; give more of the id" if begins else "see `sctransformer runs`"
    raise UserError(f"{redact_credentials(tracking_uri())}: has no single run {wanted!r}; {problem}.")


@one_sentence
def status_of(run_id: str) -> str | None:
    """`RUNNING`, `FINISHED`, `FAILED` or `KILLED`; None if there is no such run, or it was deleted."""
    client = connect()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if run.info.lifecycle_stage == LifecycleStage.DELETED else str(run.info.status)


def ended_well(wanted: str) -> str | None:
    """The id of a finished training run with this id, beginning of an id, or name; None if there is none."""
    try:
        run = find_run(wanted, list_runs())
    except UserError:
        return None
    return run.run_id if run.status == "FINISHED" else None


def differing_params(runs: Sequence[FoundRun]) -> dict[str, list[str | None]]:
    """Parameters that are not the same in all runs: the value of each, None where a run has no such parameter."""
    names = sorted({name for run in runs for name in run.params})
    values = {name: [run.params.get(name) for run in runs] for name in names}
    return {name: own for name, own in values.items() if len(set(own)) > 1}


def _as_it_is(run: Run) -> Run:
    """The run; closed as killed first if its process was on this machine and is no more."""
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
