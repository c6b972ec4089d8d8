"""Carrying out a decision: the ledger entry first, then `previous`, then `champion`, under the lock of the model."""

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of, move
from sctransformer.registry.gates import GateResult
from sctransformer.registry.ledger import Decision, Verdict
from sctransformer.registry.lineage import utc_now, who
from sctransformer.registry.lock import exclusive
from sctransformer.registry.names import ALIASES, VERSION_TAGS
from sctransformer.registry.recovery import open_decisions, settle
from sctransformer.registry.version_description import note_on_version

MAX_ATTEMPTS = 5
"""How often a decision is reconsidered because the champion changed in the meantime."""


def new_decision(
    version: ModelVersion,
    from_version: int | None,
    verdict: Verdict,
    reason: str,
    gates: list[GateResult],
    previous_before: int | None,
    previous_after: int | None,
) -> Decision:
    """A decision about a version, made now by the current user; not written yet."""
    return Decision(
        model=version.name,
        from_version=from_version,
        to_version=int(version.version),
        verdict=verdict,
        reason=reason,
        who=who(),
        when=utc_now(),
        gates=gates,
        previous_before=previous_before,
        previous_after=previous_after,
        digest=version.tags.get(VERSION_TAGS.digest, ""),
    )


def carry_out(client: MlflowClient, decision: Decision, seen: dict[str, int]) -> Decision | None:
    """Write a decision to the ledger and move the aliases.

    Args:
        client: of the store.
        decision: not written yet.
        seen: the aliases of the model when the decision was made.

    Returns:
        The written decision; None if the aliases have changed since, in which case nothing was written.
    """
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
            # Finish or undo now if the store still responds; otherwise the next command does.
            _try_to_settle(client, name)
            raise


def settle_leftovers(client: MlflowClient, name: str) -> list[Decision]:
    """Finish or undo what interrupted commands left behind; waits for a command that is still running."""
    if not open_decisions(client, name):
        return []
    with exclusive(client, name):
        return settle(client, name)


def existing_versions(client: MlflowClient, name: str) -> set[int]:
    """Numbers of the versions of a model."""
    return {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}


def _try_to_settle(client: MlflowClient, name: str) -> None:
    try:
        settle(client, name)
    except Exception:
        return
