"""Decisions that were written but not carried out, because the command died: each is finished or undone."""

from mlflow import MlflowClient

from sctransformer.registry import ledger
from sctransformer.registry.aliases import aliases_of, set_previous
from sctransformer.registry.ledger import Decision
from sctransformer.registry.names import ALIASES
from sctransformer.registry.version_description import note_on_version


def open_decisions(client: MlflowClient, name: str) -> list[Decision]:
    """Decisions in the ledger that were not carried out completely, oldest first."""
    return [decision for decision in reversed(ledger.decisions(client, name)) if decision.outcome == "open"]


def settle(client: MlflowClient, name: str) -> list[Decision]:
    """Finish or undo every open decision about a model. Call it with the lock of the model held.

    The champion is moved last. If it has moved, the remaining steps are done; if not, the earlier ones are undone: the
    person who interrupted the command may no longer want it, and no command has used the new champion yet.

    Returns:
        The decisions that were open, as they are now in the ledger.
    """
    standing = {decision.entry for decision in ledger.standing(client, name)}
    return [_settle(client, decision, decision.entry in standing) for decision in open_decisions(client, name)]


def _settle(client: MlflowClient, decision: Decision, standing: bool) -> Decision:
    if decision.verdict == "refused":
        return ledger.close(client, decision)
    if not standing:
        return ledger.close(client, decision, "undone", "its command died, and the model was deleted and created again")
    champion = aliases_of(client, decision.model).get(ALIASES.champion)
    if champion == decision.to_version:
        set_previous(client, decision.model, decision.previous_after)
        note_on_version(client, decision)
        return ledger.close(client, decision, note="its command died after the champion had moved; finished later")
    if champion == decision.from_version:
        set_previous(client, decision.model, decision.previous_before)
        return ledger.close(client, decision, "undone", "its command died before the champion had moved; undone later")
    now = "there is none" if champion is None else f"it is {champion}"
    return ledger.close(client, decision, "undone", f"its command died, and the champion was changed otherwise: {now}")
