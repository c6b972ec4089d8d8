"""What a version says of the decision that made it champion: in its description, above the model card, and in tags."""

from mlflow import MlflowClient

from sctransformer.registry import ledger
from sctransformer.registry.card import shortened
from sctransformer.registry.ledger import Decision
from sctransformer.registry.names import LONGEST_DESCRIPTION, VERSION_TAGS

_LONGEST_REASON = 500
_HEADING = "## Decision"
_END = "\n\n---\n\n"


def note_on_version(client: MlflowClient, decision: Decision) -> None:
    """Write a decision on the version that it makes champion, in place of an earlier one.

    A rollback asks one gate; what was passed over when the version was promoted still holds, and stays.
    """
    name, version = decision.model, str(decision.to_version)
    asked = _promotion_before(client, decision) if decision.verdict == "rolled back" else decision
    found = client.get_model_version(name, version)
    description = described(decision, asked, found.description or "")
    if description != found.description:
        client.update_model_version(name, version, description)
    tags = {VERSION_TAGS.decision: _sentence(decision)}
    overridden = ",".join(gate.gate for gate in asked.overridden)
    if overridden or VERSION_TAGS.overridden in found.tags:
        tags[VERSION_TAGS.overridden] = overridden
    for key, value in tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, version, key, value)


def described(decision: Decision, asked: Decision, card: str) -> str:
    """The description of a version: the decision, the gates that were passed over or not asked, then the model card.

    Args:
        decision: the last about the version.
        asked: the one for which the gates were asked.
        card: the description of now; a decision above it is replaced.
    """
    _, marker, below = card.partition(_END)
    rest = below if marker and card.startswith(_HEADING) else card
    lines = [_HEADING, "", f"{_sentence(decision)}"]
    lines += [
        f"- **Gate `{gate.gate}` failed and was overridden**: {gate.reason} "
        f"(value {gate.value}, threshold {gate.threshold})"
        for gate in asked.overridden
    ]
    if asked.switched_off:
        gates = ", ".join(f"`{gate.gate}`" for gate in asked.switched_off)
        policy = f"the policy `{asked.policy}`" if asked.policy else "the policy"
        lines.append(f"- **Not asked, because {policy} switches them off**: {gates}")
    return shortened("\n".join(lines) + _END + rest, LONGEST_DESCRIPTION)


def _promotion_before(client: MlflowClient, decision: Decision) -> Decision:
    """The last promotion of the version that a rollback goes back to; the rollback itself where there is none."""
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
