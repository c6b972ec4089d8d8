"""The ledger: an MLflow experiment with one run a decision, refusals too. Entries are written, never changed."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from sctransformer.registry.gates import GateResult
from sctransformer.registry.names import LEDGER_EXPERIMENT, LEDGER_TAGS
from sctransformer.tracking.store import experiment_id

Verdict = Literal["promoted", "refused"]

_LONGEST_REASON = 5000
_PAGE = 500


@dataclass(frozen=True)
class Decision:
    """One decision about a champion."""

    model: str
    from_version: int | None
    """Champion when it was taken; None: there was none."""
    to_version: int
    """The version that was to be champion."""
    verdict: Verdict
    reason: str
    """Given by the person; may be empty."""
    who: str
    when: str
    """UTC, ISO 8601."""
    gates: list[GateResult] = field(default_factory=list)
    recorded: bool = True
    """False: nothing was written or moved, because it was a dry run or the version is the champion already."""
    complete: bool = True
    """False: the entry was written, but the aliases may not have been moved after it."""


def record(client: MlflowClient, decision: Decision) -> str:
    """Write an entry, whole or not at all: everything is in the one call that creates the run.

    A promotion stays open until `close` says that its aliases were moved.

    Returns:
        The id of the entry.
    """
    tags = {
        LEDGER_TAGS.model: decision.model,
        LEDGER_TAGS.from_version: "" if decision.from_version is None else str(decision.from_version),
        LEDGER_TAGS.to_version: str(decision.to_version),
        LEDGER_TAGS.verdict: decision.verdict,
        LEDGER_TAGS.reason: decision.reason[:_LONGEST_REASON],
        LEDGER_TAGS.who: decision.who,
        LEDGER_TAGS.when: decision.when,
        "mlflow.user": decision.who,
    }
    for number, gate in enumerate(decision.gates):
        content = {"order": number, **dataclasses.asdict(gate)}
        tags[f"{LEDGER_TAGS.gate}{gate.gate}"] = json.dumps(content)
    name = f"{decision.verdict} {decision.model}/{decision.to_version}"
    run = client.create_run(experiment_id(client, LEDGER_EXPERIMENT), run_name=name, tags=tags)
    entry: str = run.info.run_id
    return entry


def close(client: MlflowClient, entry: str) -> None:
    """Say that what the entry decided was done."""
    client.set_terminated(entry, "FINISHED")


def decisions(client: MlflowClient, model: str) -> list[Decision]:
    """Every decision about a model, the newest first."""
    experiment = client.get_experiment_by_name(LEDGER_EXPERIMENT)
    if experiment is None:
        return []
    found: list[Decision] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.{LEDGER_TAGS.model} = '{model}'",
            run_view_type=ViewType.ALL,  # a decision that somebody deleted was taken all the same
            max_results=_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found.extend(_decision(run) for run in page)
        token = page.token
        if not token:
            return found


def _decision(run: Run) -> Decision:
    tags: dict[str, str] = run.data.tags
    contents: list[dict[str, Any]] = [
        json.loads(value) for key, value in tags.items() if key.startswith(LEDGER_TAGS.gate)
    ]
    contents.sort(key=lambda content: int(content.pop("order")))
    verdict: Verdict = "promoted" if tags[LEDGER_TAGS.verdict] == "promoted" else "refused"
    return Decision(
        model=tags[LEDGER_TAGS.model],
        from_version=int(tags[LEDGER_TAGS.from_version]) if tags[LEDGER_TAGS.from_version] else None,
        to_version=int(tags[LEDGER_TAGS.to_version]),
        verdict=verdict,
        reason=tags[LEDGER_TAGS.reason],
        who=tags[LEDGER_TAGS.who],
        when=tags[LEDGER_TAGS.when],
        gates=[GateResult(**content) for content in contents],
        complete=run.info.status == "FINISHED",
    )
