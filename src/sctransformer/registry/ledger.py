"""The ledger: an MLflow experiment with one run per decision, refusals included. Decisions are never changed."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, cast, get_args

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from pydantic import TypeAdapter

from sctransformer.registry.gates import GateResult
from sctransformer.registry.names import LEDGER_EXPERIMENT, LEDGER_TAGS, VERSION_TAGS
from sctransformer.tracking.store import experiment_id

Verdict = Literal["promoted", "rolled back", "refused"]
Outcome = Literal["open", "done", "undone"]

_LONGEST_REASON = 5000
_LONGEST_GATE_REASON = 1000
_PAGE = 500
_GATES = TypeAdapter(GateResult)


@dataclass(frozen=True)
class Decision:
    """One decision about a champion."""

    model: str
    from_version: int | None
    """Champion when the decision was made; None if there was none. For a promotion after the alias was moved by hand:
    the last version that became champion by its gates."""
    to_version: int
    """The version that the decision is about."""
    verdict: Verdict
    reason: str
    """Given by the person; may be empty."""
    who: str
    when: str
    """UTC, ISO 8601."""
    gates: list[GateResult] = field(default_factory=list)
    previous_before: int | None = None
    """Version of the alias `previous` before the decision."""
    previous_after: int | None = None
    """Version of the alias `previous` after the decision."""
    recorded: bool = True
    """False if nothing was written: it was a dry run, or the version is already the champion."""
    number: int = 0
    """1 for the first decision about the model."""
    outcome: Outcome = "done"
    """`open`: written, but the command ended before it moved the aliases; `undone`: a later command found that, and the
    champion was not changed."""
    note: str = ""
    """What a later command did with an open entry."""
    entry: str = ""
    """ID of the run in the ledger."""
    digest: str = ""
    """Digest of the bundle of `to_version`, see VERSION_TAGS.digest; empty if the version has none."""
    policy: str = ""
    """Path of the file with the thresholds; empty if no gates were checked, or the thresholds came from no file."""
    policy_sha256: str = ""
    """SHA-256 of that file."""
    unreadable: tuple[str, ...] = ()
    """Tags of gates that were edited and can no longer be read."""

    @property
    def overridden(self) -> list[GateResult]:
        """Gates that failed and that a person overrode."""
        return [gate for gate in self.gates if gate.overridden]

    @property
    def switched_off(self) -> list[GateResult]:
        """Gates that the policy disabled."""
        return [gate for gate in self.gates if gate.switched_off]


class Stray(NamedTuple):
    """A run in the ledger's experiment that is not a decision."""

    entry: str
    """ID of the run."""
    number: int | None
    """Number of the decision that it may have been."""
    why: str


def record(client: MlflowClient, decision: Decision) -> Decision:
    """Write an entry atomically: everything is in the one call that creates the run.

    An entry stays open until `close`. Call it with the lock of the model held.

    Returns:
        The decision with its number and the ID of the entry.
    """
    taken = [one.number for one in decisions(client, decision.model)]
    taken += [stray.number for stray in strays(client, decision.model) if stray.number is not None]
    numbered = dataclasses.replace(
        decision,
        number=1 + max(taken, default=0),
        outcome="open",
        reason=decision.reason[:_LONGEST_REASON],
        gates=[dataclasses.replace(gate, reason=gate.reason[:_LONGEST_GATE_REASON]) for gate in decision.gates],
    )
    tags = {
        LEDGER_TAGS.model: numbered.model,
        LEDGER_TAGS.number: str(numbered.number),
        LEDGER_TAGS.from_version: _text(numbered.from_version),
        LEDGER_TAGS.to_version: str(numbered.to_version),
        LEDGER_TAGS.digest: numbered.digest,
        LEDGER_TAGS.policy: numbered.policy,
        LEDGER_TAGS.policy_sha256: numbered.policy_sha256,
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
    """Close an entry with its outcome: the aliases were moved, or they were not.

    Returns:
        The decision as it is now in the ledger.
    """
    if client.get_run(decision.entry).info.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_run(decision.entry)
    if note:
        client.set_tag(decision.entry, LEDGER_TAGS.note, note)
    client.set_terminated(decision.entry, "FINISHED" if outcome == "done" else "KILLED")
    return dataclasses.replace(decision, outcome=outcome, note=note)


def decisions(client: MlflowClient, model: str) -> list[Decision]:
    """Every decision about a model, newest first. Runs that are not decisions are skipped, see `strays`."""
    found: list[tuple[int, int, Decision]] = []
    for run in _runs(client, model):
        decision = _read(run)
        if isinstance(decision, Decision):
            found.append((decision.number, run.info.start_time, decision))
    return [decision for _, _, decision in sorted(found, key=lambda one: one[:2], reverse=True)]


def strays(client: MlflowClient, model: str) -> list[Stray]:
    """Runs that name a model and are not decisions: their tags were edited, or they were created by hand."""
    return [
        stray
        for run in _runs(client, model)
        if isinstance(stray := _read(run), Stray) and run.info.lifecycle_stage != LifecycleStage.DELETED
    ]


def standing(client: MlflowClient, model: str) -> list[Decision]:
    """Decisions about the versions that a model has, or had until they were deleted; newest first.

    A model that is deleted and created again numbers its versions from 1 again: decisions about the old versions do not
    apply to the new ones.
    """
    created = client.get_registered_model(model).creation_timestamp
    versions = {int(one.version): one for one in client.search_model_versions(f"name = '{model}'")}
    return [one for one in decisions(client, model) if _is_about(one, versions.get(one.to_version), created)]


def champions(newest_first: Iterable[Decision]) -> list[int]:
    """Champions as a stack: each promotion puts one on top, each rollback removes those above its version.

    The last is the champion according to the ledger, the one before it is the target of the next rollback.
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


def _is_about(decision: Decision, version: ModelVersion | None, model_created: int) -> bool:
    if version is None:
        return _is_since(decision, model_created)
    registered = version.tags.get(VERSION_TAGS.digest)
    if decision.digest and registered:
        return decision.digest == registered
    return _is_since(decision, version.creation_timestamp)


def _is_since(decision: Decision, milliseconds: int) -> bool:
    return datetime.fromisoformat(decision.when).timestamp() >= milliseconds // 1000  # `when` has whole seconds


def _runs(client: MlflowClient, model: str) -> Iterator[Run]:
    experiment = client.get_experiment_by_name(LEDGER_EXPERIMENT)
    token = None
    while experiment is not None:
        page = client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.{LEDGER_TAGS.model} = '{model}'",
            run_view_type=ViewType.ALL,  # a deleted run still records a decision that was made
            max_results=_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _read(run: Run) -> Decision | Stray:
    try:
        return _decision(run)
    except KeyError as error:
        why = f"it has no tag {error}"
    except ValueError as error:
        why = str(error)
    number = run.data.tags.get(LEDGER_TAGS.number, "")
    return Stray(run.info.run_id, int(number) if number.isdecimal() else None, why)


def _decision(run: Run) -> Decision:
    tags: dict[str, str] = run.data.tags
    verdict = tags[LEDGER_TAGS.verdict]
    if verdict not in get_args(Verdict):
        raise ValueError(f"its verdict is {verdict!r}")
    datetime.fromisoformat(tags[LEDGER_TAGS.when])
    to_version = _number(tags, LEDGER_TAGS.to_version)
    if to_version is None:
        raise ValueError(f"it has no {LEDGER_TAGS.to_version}")
    gates, unreadable = _gates(tags)
    outcome: Outcome = {"FINISHED": "done", "KILLED": "undone"}.get(run.info.status, "open")  # type: ignore[assignment]
    return Decision(
        model=tags[LEDGER_TAGS.model],
        from_version=_number(tags, LEDGER_TAGS.from_version),
        to_version=to_version,
        verdict=cast(Verdict, verdict),
        reason=tags[LEDGER_TAGS.reason],
        who=tags[LEDGER_TAGS.who],
        when=tags[LEDGER_TAGS.when],
        gates=gates,
        previous_before=_number(tags, LEDGER_TAGS.previous_before),
        previous_after=_number(tags, LEDGER_TAGS.previous_after),
        number=_number(tags, LEDGER_TAGS.number) or 0,
        outcome=outcome,
        note=tags.get(LEDGER_TAGS.note, ""),
        entry=run.info.run_id,
        digest=tags.get(LEDGER_TAGS.digest, ""),
        policy=tags.get(LEDGER_TAGS.policy, ""),
        policy_sha256=tags.get(LEDGER_TAGS.policy_sha256, ""),
        unreadable=unreadable,
    )


def _gates(tags: dict[str, str]) -> tuple[list[GateResult], tuple[str, ...]]:
    """Results of the gates, in their order, and the tags that cannot be read."""
    read: list[tuple[int, GateResult]] = []
    unreadable = []
    for key, value in tags.items():
        if not key.startswith(LEDGER_TAGS.gate):
            continue
        try:
            content = json.loads(value)
            read.append((int(content["order"]), _GATES.validate_python(content)))
        except (ValueError, TypeError, KeyError):  # pydantic's ValidationError is a ValueError
            unreadable.append(key)
    return [gate for _, gate in sorted(read, key=lambda one: one[0])], tuple(sorted(unreadable))


def _text(version: int | None) -> str:
    return "" if version is None else str(version)


def _number(tags: dict[str, str], key: str) -> int | None:
    text = tags.get(key, "")
    if text and not text.isdecimal():
        raise ValueError(f"its {key} is {text!r}")
    return int(text) if text else None
