"""Rollback: an earlier champion becomes the champion again."""

from mlflow import MlflowClient

from sctransformer.errors import UserError
from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of
from sctransformer.registry.evidence import evidence_of
from sctransformer.registry.execution import (
    MAX_ATTEMPTS,
    carry_out,
    existing_versions,
    new_decision,
    settle_leftovers,
)
from sctransformer.registry.gates import check_bundle
from sctransformer.registry.ledger import Decision
from sctransformer.registry.models import bundle_of, find_version, require_model
from sctransformer.registry.names import ALIASES
from sctransformer.registry.references import Reference
from sctransformer.tracking.store import connect_to_write, one_sentence


@one_sentence
def rollback(name: str, *, reason: str, to: int | None = None) -> Decision:
    """Make the previous champion, or an earlier one, the champion again.

    If the alias was moved by hand, the previous champion is the one recorded in the ledger. Only the bundle is checked:
    the version passed its gates when it was promoted. `previous` then names the champion before it, so that another
    rollback goes one step further back.

    Args:
        name: of the registered model.
        reason: kept in the ledger.
        to: a version that was champion before; None for `previous`.

    Raises:
        UserError: the reason is empty, there is no version to go back to, the version was never champion, its bundle is
            damaged (then a refusal is written to the ledger), or the store cannot be used.
    """
    if not reason.strip():
        raise UserError("a rollback needs a reason; give --reason, it is kept in the history.")
    client = connect_to_write(must_exist=True)
    require_model(client, name)
    settle_leftovers(client, name)
    for _ in range(MAX_ATTEMPTS):
        seen = aliases_of(client, name)
        decision = carry_out(client, _considered(client, name, seen, reason, to), seen)
        if decision is None:
            continue
        if decision.verdict == "refused":
            why = decision.gates[0].reason.rstrip(".")
            raise UserError(f"{name}/{decision.to_version} is refused: {why}; choose another with --to.")
        return decision
    raise UserError(f"model {name!r}: its champion changes faster than it can be rolled back; try again.")


def _considered(client: MlflowClient, name: str, seen: dict[str, int], reason: str, to: int | None) -> Decision:
    """The decision that would be made now; not written."""
    champion, previous = seen.get(ALIASES.champion), seen.get(ALIASES.previous)
    stack = ledger.champions(ledger.standing(client, name))
    existing = existing_versions(client, name)
    earlier = [version for version in stack if version in existing and version != champion]
    moved_by_hand = champion is not None and stack[-1:] != [champion]
    before = previous if previous in earlier and not moved_by_hand else next(reversed(earlier), None)
    target = before if to is None else to
    if target is None:
        raise UserError(f"model {name!r} has no champion before this one; promote another version.")
    if target == champion:
        raise UserError(f"{name}/{target} is already the champion; nothing was changed.")
    found = find_version(client, Reference(name, version=target))
    if target not in stack:
        champions = ", ".join(map(str, earlier)) or "none"
        raise UserError(
            f"{name}/{target} was never champion (earlier champions: {champions}); use `sctransformer promote`."
        )
    gate = check_bundle(evidence_of(bundle_of(client, found)))
    if not gate.passed:
        return new_decision(found, champion, "refused", reason, [gate], previous, previous)
    below = next(reversed(earlier[: earlier.index(target)]), None)
    return new_decision(found, champion, "rolled back", reason, [gate], previous, below)
