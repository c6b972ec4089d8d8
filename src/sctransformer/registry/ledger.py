"""The ledger: an MLflow experiment with one run a decision, refusals too. What was decided is never changed."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, ViewType

from sctransformer.registry.gates import GateResult
from sctransformer.registry.names import LEDGER_EXPERIMENT, LEDGER_TAGS
from sctransformer.tracking.store import experiment_id

Verdict = Literal["promoted", "rolled back", "refused"]
Outcome = Literal["open", "done", "undone"]

_LONGEST_REASON = 5000
_LONGEST_GATE_REASON = 1000
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
    previous_before: int | None = None
    """Where the alias `previous` was."""
    previous_after: int | None = None
    """Where it goes."""
    recorded: bool = True
    """False: nothing was written or moved, because it was a dry run or the version is the champion already."""
    number: int = 0
    """1 for the first decision about the model."""
    outcome: Outcome = "done"
    """`open`: written, but the command ended before it had moved the aliases; `undone`: that was found later, and the
    champion stayed as it was."""
    note: str = ""
    """What the command that found an open entry made of it."""
    entry: str = ""
    """Id of the run in the ledger."""

    @property
    def overridden(self) -> list[GateResult]:
        """Gates that were closed and that a person passed over."""
        return [gate for gate in self.gates if gate.overridden]


def record(client: MlflowClient, decision: Decision) -> Decision:
    """Write an entry, whole or not at all: everything is in the one call that creates the run.

    An entry stays open until `close` says that its aliases were moved. Call it with the model's lock held.

    Returns:
        The decision with its number and the id of the entry.
    """
    earlier = decisions(client, decision.model)
    numbered = dataclasses.replace(
        decision,
        number=1 + max((one.number for one in earlier), default=0),
        outcome="open",
        reason=decision.reason[:_LONGEST_REASON],
        gates=[dataclasses.replace(gate, reason=gate.reason[:_LONGEST_GATE_REASON]) for gate in decision.gates],
    )
    tags = {
        LEDGER_TAGS.model: numbered.model,
        LEDGER_TAGS.number: str(numbered.number),
        LEDGER_TAGS.from_version: _text(numbered.from_version),
        LEDGER_TAGS.to_version: str(numbered.to_version),
        LEDGER_TAGS.previous_before: _text(numbered.previous_before),
        LEDGER_TAGS.previous_after: _text(numbered.previous_after),
        LEDGER_TAGS.verdict: numbered.verdict,
        LEDGER_TAGS.reason: numbered.reason,
        LEDGER_TAGS.who: numbered.who,
        LEDGER_TAGS.when: numbered.when,
        "mlflow.user": numbered.who,
    }
    for order, gate in enumerate(numbered.gates):
        content = {"order": order, **dataclasses.asdict(gate)}
        tags[f"{LEDGER_TAGS.gate}{gate.gate}"] = json.dumps(content)
    name = f"{numbered.number}: {numbered.verdict} {numbered.model}/{numbered.to_version}"
    run = client.create_run(experiment_id(client, LEDGER_EXPERIMENT), run_name=name, tags=tags)
    return dataclasses.replace(numbered, entry=run.info.run_id)


def close(client: MlflowClient, decision: Decision, outcome: Outcome = "done", note: str = "") -> Decision:
    """Say what became of an entry: its aliases were moved, or they were not.

    Returns:
        The decision as it stands in the ledger now.
    """
    if client.get_run(decision.entry).info.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_run(decision.entry)
    if note:
        client.set_tag(decision.entry, LEDGER_TAGS.note, note)
    client.set_terminated(decision.entry, "FINISHED" if outcome == "done" else "KILLED")
    return dataclasses.replace(decision, outcome=outcome, note=note)


def decisions(client: MlflowClient, model: str) -> list[Decision]:
    """Every decision about a model, the newest first."""
    experiment = client.get_experiment_by_name(LEDGER_EXPERIMENT)
    if experiment is None:
        return []
    found: list[tuple[int, int, Decision]] = []
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
        for run in page:
            decision = _decision(run)
            found.append((decision.number, run.info.start_time, decision))
        token = page.token
        if not token:
            break
    return [decision for _, _, decision in sorted(found, key=lambda one: one[:2], reverse=True)]


def champions(newest_first: Iterable[Decision]) -> list[int]:
    """The champions that lie under one another: each promotion lays one on top, each rollback takes some away.

    The last is the champion as far as the ledger knows, the one before it what a rollback goes back to.
    """
    stack: list[int] = []
    for decision in reversed(list(newest_first)):
        if decision.outcome != "done" or decision.verdict == "refused":
            continue
        if decision.verdict == "rolled back" and decision.to_version in stack:
            del stack[stack.index(decision.to_version) + 1 :]
        else:
            stack = [version for version in stack if version != decision.to_version] + [decision.to_version]
    return stack


def _decision(run: Run) -> Decision:
    tags: dict[str, str] = run.data.tags
    contents: list[dict[str, Any]] = [
        json.loads(value) for key, value in tags.items() if key.startswith(LEDGER_TAGS.gate)
    ]
    contents.sort(key=lambda content: int(content.pop("order")))
    outcome: Outcome = {"FINISHED": "done", "KILLED": "undone"}.get(run.info.status, "open")  # type: ignore[assignment]
    return Decision(
        model=tags[LEDGER_TAGS.model],
        from_version=_number(tags.get(LEDGER_TAGS.from_version)),
        to_version=int(tags[LEDGER_TAGS.to_version]),
        verdict=cast(Verdict, tags[LEDGER_TAGS.verdict]),
        reason=tags[LEDGER_TAGS.reason],
        who=tags[LEDGER_TAGS.who],
        when=tags[LEDGER_TAGS.when],
        gates=[GateResult(**content) for content in contents],
        previous_before=_number(tags.get(LEDGER_TAGS.previous_before)),
        previous_after=_number(tags.get(LEDGER_TAGS.previous_after)),
        number=_number(tags.get(LEDGER_TAGS.number)) or 0,
        outcome=outcome,
        note=tags.get(LEDGER_TAGS.note, ""),
        entry=run.info.run_id,
    )


def _text(version: int | None) -> str:
    return "" if version is None else str(version)


def _number(text: str | None) -> int | None:
    return int(text) if text else None
