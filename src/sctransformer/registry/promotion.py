"""Promotion: a version becomes the champion if it passes the gates. No alias moves without a ledger entry."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of
from sctransformer.registry.evidence import compared, evidence_of
from sctransformer.registry.execution import (
    MAX_ATTEMPTS,
    carry_out,
    existing_versions,
    new_decision,
    settle_leftovers,
)
from sctransformer.registry.gates import check_gates, failed, override
from sctransformer.registry.ledger import Decision, Verdict
from sctransformer.registry.models import bundle_of, find_version
from sctransformer.registry.names import ALIASES
from sctransformer.registry.policy import Policy, load_policy
from sctransformer.registry.references import Reference, parse_reference
from sctransformer.registry.rescoring import TestCells, read_test_cells
from sctransformer.tracking.store import connect, connect_to_write, one_sentence


@one_sentence
def promote(
    reference: str,
    *,
    reason: str = "",
    first: bool = False,
    dry_run: bool = False,
    overrides: Collection[str] = (),
    cells: Path | None = None,
    policy: Policy | Path = layout.POLICY,
) -> Decision:
    """Make a version the champion if it passes every gate.

    The decision, also a refusal, is written to the ledger before any alias moves. Promoting the champion again changes
    nothing and writes nothing, unless it became champion by an alias moved by hand: then it is checked like any other
    version. Whatever an interrupted command left behind is finished or undone first.

    Args:
        reference: `NAME/VERSION` or `NAME@ALIAS`.
        reason: kept in the ledger.
        first: promote although there is no champion to compare with. Ignored if there is one.
        dry_run: only check the gates. The champion itself is checked too, compared with itself.
        overrides: names of gates to override if they fail; requires a reason.
        cells: labelled test cells on which candidate and champion are scored again. By default those of the stage
            `evaluate`, if they exist; without test cells the gate `champion` fails.
        policy: thresholds of the gates, or the file with them, whose path and SHA-256 are kept in the ledger.

    Returns:
        The decision. `recorded` is False for a dry run, and for a version that is already champion.

    Raises:
        UserError: the version does not exist, there is no champion and `first` is not set, an override has no reason or
            cannot be overridden, or the store cannot be used.
    """
    policy_file = policy if isinstance(policy, Path) else None
    thresholds = load_policy(policy) if isinstance(policy, Path) else policy
    client = connect(must_exist=True) if dry_run else connect_to_write(must_exist=True)
    candidate = find_version(client, parse_reference(reference))
    name, version = candidate.name, int(candidate.version)
    if overrides and not reason.strip():
        raise UserError("an override needs a reason; give --reason, it is kept in the history and on the model card.")
    cells = cells or (layout.TEST_CELLS_FILE if layout.TEST_CELLS_FILE.exists() else None)
    test_cells = None if cells is None else read_test_cells(cells)
    policy_sha256 = "" if policy_file is None else sha256_file(policy_file)
    if not dry_run:
        settle_leftovers(client, name)
    for _ in range(MAX_ATTEMPTS):
        seen = aliases_of(client, name)
        champion = _champion_to_beat(client, candidate, seen.get(ALIASES.champion))
        if champion is None and not first and not dry_run:
            raise UserError(_no_champion(client, candidate, seen))
        if champion is not None and int(champion.version) == version and not dry_run:
            previous = seen.get(ALIASES.previous)
            already = new_decision(candidate, version, "promoted", reason, [], previous, previous)
            return dataclasses.replace(already, recorded=False)
        considered = _considered(client, candidate, champion, seen, thresholds, overrides, reason, test_cells)
        decision = dataclasses.replace(considered, policy=str(policy_file or ""), policy_sha256=policy_sha256)
        if dry_run:
            return dataclasses.replace(decision, recorded=False)
        carried_out = carry_out(client, decision, seen)
        if carried_out is not None:
            return carried_out
    raise UserError(f"model {name!r}: its champion changes faster than the gates can be checked; try again.")


def _champion_to_beat(client: MlflowClient, candidate: ModelVersion, aliased: int | None) -> ModelVersion | None:
    """The current champion; if the alias was moved by hand, the last version that became champion by its gates.

    Args:
        client: of the store.
        candidate: never compared with itself, unless it became champion by its gates.
        aliased: the version with the alias.

    Returns:
        None if there is no version to compare with.
    """
    name, number = candidate.name, int(candidate.version)
    champions = ledger.champions(ledger.standing(client, name))
    if aliased is None:
        return None
    if champions[-1:] != [aliased]:
        existing = existing_versions(client, name)
        passed = [version for version in champions if version in existing and version != number]
        aliased = passed[-1] if passed else aliased if aliased != number else None
    return None if aliased is None else find_version(client, Reference(name, version=aliased))


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
    """The decision that would be made now; not written."""
    own = bundle_of(client, candidate)
    other = None if champion is None else bundle_of(client, champion)
    comparison = None
    if other is not None and cells is not None and policy.gates.champion.enabled:
        comparison = compared(own, other, cells)
    evidence = None if other is None else evidence_of(other)
    gates = override(check_gates(evidence_of(own), evidence, policy, comparison), overrides)
    verdict: Verdict = "refused" if failed(gates) else "promoted"
    previous = seen.get(ALIASES.previous)
    from_version = None if champion is None else int(champion.version)
    after = previous if verdict == "refused" or from_version is None else from_version
    if after == int(candidate.version):  # the old `previous` is promoted while there is no champion
        after = None
    return new_decision(candidate, from_version, verdict, reason, gates, previous, after)


def _no_champion(client: MlflowClient, candidate: ModelVersion, seen: dict[str, int]) -> str:
    name = candidate.name
    if ALIASES.champion in seen:
        return (
            f"{name}/{candidate.version} is champion only by an alias that was moved by hand, and no other version "
            "has passed the gates, so there is nothing to compare with; give --first if that is intended."
        )
    earlier = ledger.champions(ledger.standing(client, name))
    if earlier:
        return (
            f"model {name!r} has no champion: {name}/{earlier[-1]} was deleted or lost its alias; go back with "
            f"`sctransformer rollback {name} --reason ...`, or give --first to promote without a comparison."
        )
    return f"model {name!r} has no champion yet, so there is nothing to compare with; give --first if that is intended."
