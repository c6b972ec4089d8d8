"""Decisions about a champion: gates, then the ledger, then `previous`, then `champion`: no alias moves unrecorded."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of, move
from sctransformer.registry.evidence import compared, evidence_of
from sctransformer.registry.gates import GateResult, check_bundle, check_gates, closed, override
from sctransformer.registry.ledger import Decision, Verdict
from sctransformer.registry.lineage import utc_now, who
from sctransformer.registry.lock import exclusive
from sctransformer.registry.models import bundle_of, find_version, require_model
from sctransformer.registry.names import ALIASES, VERSION_TAGS
from sctransformer.registry.policy import Policy
from sctransformer.registry.recovery import open_decisions, settle
from sctransformer.registry.references import Reference, parse_reference, require_model_name
from sctransformer.registry.rescoring import TestCells, read_test_cells
from sctransformer.registry.version_description import note_on_version
from sctransformer.tracking.store import connect, one_sentence

_ROUNDS = 5
"""How often gates are asked again because another champion came while they were asked."""


@one_sentence
def promote(
    name: str,
    version: int,
    *,
    policy: Policy,
    policy_file: Path | None = None,
    first: bool = False,
    reason: str = "",
    overrides: Collection[str] = (),
    cells: Path | None = None,
    dry_run: bool = False,
) -> Decision:
    """Make a version the champion, if every gate lets it through.

    The decision, also a refusal, is written to the ledger before any alias moves. Promoting the champion again
    changes nothing and writes nothing; a version that is champion only because somebody moved the alias by hand is
    asked like any other. What an earlier command left half done is finished or undone first.

    Args:
        name, version: of the registered model.
        policy: thresholds of the gates.
        policy_file: where they were read; its path and SHA-256 are kept in the ledger.
        first: there is no champion to compare with, and that is intended. Ignored when there is one.
        reason: kept in the ledger.
        overrides: gates to pass over if they are closed; needs a reason.
        cells: labelled test cells on which candidate and champion are scored again; None: there are none, and the gate
            `champion` stays closed.
        dry_run: only ask the gates; of the champion they are asked beside itself.

    Returns:
        The decision; `recorded` is False for a dry run, and for the version that is champion already.

    Raises:
        UserError: there is no such version, there is no champion and `first` was not given, an override without a
            reason or of a gate that cannot be passed over, or the store cannot be used.
    """
    client = connect(must_exist=True)
    candidate = find_version(client, Reference(name, version=version))
    if overrides and not reason.strip():
        raise UserError("an override needs a reason; give --reason, it stays in the history and on the model card.")
    test_cells = None if cells is None else read_test_cells(cells)
    policy_sha256 = "" if policy_file is None else sha256_file(policy_file)
    if not dry_run:
        settle_leftovers(client, name)
    for _ in range(_ROUNDS):
        seen = aliases_of(client, name)
        champion = _champion_to_beat(client, candidate, seen.get(ALIASES.champion))
        if champion is None and not first and not dry_run:
            raise UserError(_no_champion(client, candidate, seen))
        if champion is not None and int(champion.version) == version and not dry_run:
            previous = seen.get(ALIASES.previous)
            already = _decision(candidate, version, "promoted", reason, [], previous, previous)
            return dataclasses.replace(already, recorded=False)
        considered = _considered(client, candidate, champion, seen, policy, overrides, reason, test_cells)
        decision = dataclasses.replace(considered, policy=str(policy_file or ""), policy_sha256=policy_sha256)
        if dry_run:
            return dataclasses.replace(decision, recorded=False)
        carried_out = _carried_out(client, decision, seen)
        if carried_out is not None:
            return carried_out
    raise UserError(f"model {name!r}: its champion changes faster than gates can be asked; try again.")


@one_sentence
def rollback(name: str, *, reason: str, to: int | None = None) -> Decision:
    """Make the champion before the champion of now, or an earlier one, the champion again.

    Where somebody moved the alias by hand, the champion before is the one that the ledger knows. Only the bundle is
    checked: it passed its gates when it was promoted. `previous` then stands for the champion before it, so that one
    more rollback goes one step further back.

    Args:
        name: of the registered model.
        reason: kept in the ledger.
        to: a version that was champion before; None takes `previous`.

    Raises:
        UserError: no reason, no version to go back to, the version was never champion, its bundle is damaged (a refusal
            is then in the ledger), or the store cannot be used.
    """
    if not reason.strip():
        raise UserError("a rollback needs a reason; give --reason, it stays in the history.")
    client = connect(must_exist=True)
    require_model(client, name)
    settle_leftovers(client, name)
    for _ in range(_ROUNDS):
        seen = aliases_of(client, name)
        decision = _carried_out(client, _going_back(client, name, seen, reason, to), seen)
        if decision is None:
            continue
        if decision.verdict == "refused":
            why = decision.gates[0].reason.rstrip(".")
            raise UserError(f"{name}/{decision.to_version} is refused: {why}; choose another with --to.")
        return decision
    raise UserError(f"model {name!r}: its champion changes faster than it can be rolled back; try again.")


@one_sentence
def history(name: str) -> list[Decision]:
    """Every decision about a model, the newest first; nothing is changed.

    Raises:
        UserError: there is no store, or nothing of that name was ever registered or decided.
    """
    client = connect(must_exist=True)
    require_model_name(name)
    found = ledger.decisions(client, name)
    if not found:
        require_model(client, name)
    return found


@one_sentence
def decisions_on(reference: str) -> list[str]:
    """One sentence for each decision about a version that was written, the newest first."""
    client = connect(must_exist=True)
    version = find_version(client, parse_reference(reference))
    found = [one for one in ledger.standing(client, version.name) if one.to_version == int(version.version)]
    return [
        f"{one.number}: {one.verdict if one.outcome == 'done' else f'{one.verdict} ({one.outcome})'} by {one.who}, "
        f"{one.when}" + (f": {one.reason}" if one.reason else "") + _passed_over(one)
        for one in found
    ]


def settle_leftovers(client: MlflowClient, name: str) -> list[Decision]:
    """Finish or undo what commands that died left behind; a command that is at work is waited for."""
    if not open_decisions(client, name):
        return []
    with exclusive(client, name):
        return settle(client, name)


def _champion_to_beat(client: MlflowClient, candidate: ModelVersion, aliased: int | None) -> ModelVersion | None:
    """The champion of now; where the alias was moved by hand, the last one that passed its gates before.

    Args:
        client: of the store.
        candidate: never compared with itself, unless it is the champion by right.
        aliased: the version that has the alias.

    Returns:
        None: there is no version to compare with.
    """
    name, number = candidate.name, int(candidate.version)
    champions = ledger.champions(ledger.standing(client, name))
    if aliased is None:
        return None
    if champions[-1:] != [aliased]:
        there = _versions(client, name)
        passed = [version for version in champions if version in there and version != number]
        aliased = passed[-1] if passed else aliased if aliased != number else None
    return None if aliased is None else find_version(client, Reference(name, version=aliased))


def _versions(client: MlflowClient, name: str) -> set[int]:
    return {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}


def _considered(
    client: MlflowClient,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    seen: dict[str, int],
    policy: Policy,
    overrides: Collection[str],
    reason: str,
    cells: TestCells | None,
) -> Decision:
    """The decision as it would be taken now; not written."""
    own = bundle_of(client, candidate)
    other = None if champion is None else bundle_of(client, champion)
    comparison = None
    if other is not None and cells is not None and policy.gates.champion.enabled:
        comparison = compared(own, other, cells)
    evidence = None if other is None else evidence_of(other)
    gates = override(check_gates(evidence_of(own), evidence, policy, comparison), overrides)
    verdict: Verdict = "refused" if closed(gates) else "promoted"
    previous = seen.get(ALIASES.previous)
    from_version = None if champion is None else int(champion.version)
    after = previous if verdict == "refused" or from_version is None else from_version
    if after == int(candidate.version):  # the old `previous` is promoted while there is no champion
        after = None
    return _decision(candidate, from_version, verdict, reason, gates, previous, after)


def _going_back(client: MlflowClient, name: str, seen: dict[str, int], reason: str, to: int | None) -> Decision:
    champion, previous = seen.get(ALIASES.champion), seen.get(ALIASES.previous)
    stack = ledger.champions(ledger.standing(client, name))
    there = _versions(client, name)
    earlier = [version for version in stack if version in there and version != champion]
    by_hand = champion is not None and stack[-1:] != [champion]
    before = previous if previous in earlier and not by_hand else next(reversed(earlier), None)
    target = before if to is None else to
    if target is None:
        raise UserError(f"model {name!r} has no champion before this one; promote another version.")
    if target == champion:
        raise UserError(f"{name}/{target} is the champion already; nothing was changed.")
    found = find_version(client, Reference(name, version=target))
    if target not in stack:
        were = ", ".join(map(str, earlier)) or "none"
        raise UserError(f"{name}/{target} was never champion (there were: {were}); use `sctransformer promote`.")
    gate = check_bundle(evidence_of(bundle_of(client, found)))
    if not gate.passed:
        return _decision(found, champion, "refused", reason, [gate], previous, previous)
    below = next(reversed(earlier[: earlier.index(target)]), None)
    return _decision(found, champion, "rolled back", reason, [gate], previous, below)


def _carried_out(client: MlflowClient, decision: Decision, seen: dict[str, int]) -> Decision | None:
    """Write the decision and do what it says; None: aliases are not what was seen when it was considered."""
    name = decision.model
    with exclusive(client, name) as before_step:
        settle(client, name)
        now = aliases_of(client, name)
        if any(now.get(alias) != seen.get(alias) for alias in (ALIASES.champion, ALIASES.previous)):
            return None
        before_step()
        written = ledger.record(client, decision)
        try:
            if written.verdict != "refused":
                move(client, written, before_step)
                note_on_version(client, written)
            return ledger.close(client, written)
        except BaseException:
            # finish or undo at once, if the store still answers; else the next command does
            _try_to_settle(client, name)
            raise


def _try_to_settle(client: MlflowClient, name: str) -> None:
    try:
        settle(client, name)
    except Exception:
        return


def _decision(
    version: ModelVersion,
    from_version: int | None,
    verdict: Verdict,
    reason: str,
    gates: list[GateResult],
    before: int | None,
    after: int | None,
) -> Decision:
    return Decision(
        model=version.name,
        from_version=from_version,
        to_version=int(version.version),
        verdict=verdict,
        reason=reason,
        who=who(),
        when=utc_now(),
        gates=gates,
        previous_before=before,
        previous_after=after,
        digest=version.tags.get(VERSION_TAGS.digest, ""),
    )


def _passed_over(decision: Decision) -> str:
    told = [
        f"{what}: {', '.join(gate.gate for gate in gates)}"
        for what, gates in (("overridden", decision.overridden), ("switched off", decision.switched_off))
        if gates
    ]
    return f" ({'; '.join(told)})" if told else ""


def _no_champion(client: MlflowClient, candidate: ModelVersion, seen: dict[str, int]) -> str:
    name = candidate.name
    if ALIASES.champion in seen:
        return (
            f"{name}/{candidate.version} is champion only by an alias that was moved by hand, and no other version "
            "passed the gates, so nothing can be compared; give --first if that is right."
        )
    earlier = ledger.champions(ledger.standing(client, name))
    if earlier:
        return (
            f"model {name!r} has no champion: {name}/{earlier[-1]} was, and was deleted or lost its alias; go back "
            f"with `sctransformer rollback {name} --reason ...`, or give --first to promote without a comparison."
        )
    return f"model {name!r} has no champion yet, so nothing can be compared; give --first if that is right."
