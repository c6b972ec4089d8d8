"""The decision that made a version champion, written to its description, above the model card, and to its tags."""

from mlflow import MlflowClient

from sctransformer.registry import ledger
from sctransformer.registry.card import shortened
from sctransformer.registry.ledger import Decision
from sctransformer.registry.names import LONGEST_DESCRIPTION, VERSION_TAGS

_LONGEST_REASON = 500
_HEADING = "## Decision"
_END = "\n\n---\n\n"


def note_on_version(client: MlflowClient, decision: Decision) -> None:
    """Write a decision to the version that it makes champion, replacing an earlier one.

    A rollback checks a single gate; overrides of the promotion before it still apply and stay visible.
    """
    name, version = decision.model, str(decision.to_version)
    checked = _promotion_before(client, decision) if decision.verdict == "rolled back" else decision
    found = client.get_model_version(name, version)
    description = described(decision, checked, found.description or "")
    if description != found.description:
        client.update_model_version(name, version, description)
    tags = {VERSION_TAGS.decision: _sentence(decision)}
    overridden = ",".join(gate.gate for gate in checked.overridden)
    if overridden or VERSION_TAGS.overridden in found.tags:
        tags[VERSION_TAGS.overridden] = overridden
    for key, value in tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, version, key, value)


def described(decision: Decision, checked: Decision, card: str) -> str:
    """The description of a version: the decision, the gates that were overridden or disabled, then the model card.

    Args:
        decision: the last one about the version.
        checked: the decision for which the gates were checked.
        card: the current description; a decision above it is replaced.
    """
    _, marker, below = card.partition(_END)
    rest = below if marker and card.startswith(_HEADING) else card
    lines = [_HEADING, "", f"{_sentence(decision)}"]
    lines += [
        f"- **Gate `{gate.gate}` failed and was overridden**: {gate.reason} "
        f"(value {gate.value}, threshold {gate.threshold})"
        for gate in checked.overridden
    ]
    if checked.switched_off:
        gates = ", ".join(f"`{gate.gate}`" for gate in checked.switched_off)
        policy = f"the policy `{checked.policy}`" if checked.policy else "the policy"
        lines.append(f"- **Not checked, because {policy} disables them**: {gates}")
    return shortened("\n".join(lines) + _END + rest, LONGEST_DESCRIPTION)


def _promotion_before(client: MlflowClient, decision: Decision) -> Decision:
    """The last promotion of the version that a rollback goes back to; the rollback itself if there is none."""
    promotions = (
        one
        for one in ledger.standing(client, decision.model)
        if (one.verdict, one.outcome, one.to_version) == ("promoted", "done", decision.to_version)
    )
    return next(promotions, decision)


def _sentence(decision: Decision) -> str:
    source = (
        "no champion before" if decision.from_version is None else f"after {decision.model}/{decision.from_version}"
    )
    reason = f": {decision.reason[:_LONGEST_REASON]}" if decision.reason else ""
    verb = decision.verdict.capitalize() if decision.verdict == "promoted" else "Rolled back to"
    return f"{verb} ({source}) by {decision.who}, {decision.when}{reason}"
