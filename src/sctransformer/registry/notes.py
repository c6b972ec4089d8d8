"""What a version says of the decision that made it champion: in its description, above the model card, and in tags."""

from mlflow import MlflowClient

from sctransformer.registry.ledger import Decision
from sctransformer.registry.names import LONGEST_DESCRIPTION, VERSION_TAGS

_LONGEST_REASON = 500
_HEADING = "## Decision"
_END = "\n\n---\n\n"


def note_on_version(client: MlflowClient, decision: Decision) -> None:
    """Write a decision on the version that it makes champion, in place of an earlier one."""
    name, version = decision.model, str(decision.to_version)
    found = client.get_model_version(name, version)
    description = described(decision, found.description or "")
    if description != found.description:
        client.update_model_version(name, version, description)
    tags = {VERSION_TAGS.decision: _sentence(decision)}
    overridden = ",".join(gate.gate for gate in decision.overridden)
    if overridden or VERSION_TAGS.overridden in found.tags:
        tags[VERSION_TAGS.overridden] = overridden
    for key, value in tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, version, key, value)


def described(decision: Decision, card: str) -> str:
    """The description of a version: the decision, the gates that were passed over, then the model card."""
    _, marker, below = card.partition(_END)
    rest = below if marker and card.startswith(_HEADING) else card
    lines = [_HEADING, "", f"{_sentence(decision)}"]
    lines += [
        f"- **Gate `{gate.gate}` was closed, and was overridden**: {gate.reason} "
        f"(found {gate.value}, asked {gate.threshold})"
        for gate in decision.overridden
    ]
    return ("\n".join(lines) + _END + rest)[:LONGEST_DESCRIPTION]


def _sentence(decision: Decision) -> str:
    source = (
        "no champion before" if decision.from_version is None else f"after {decision.model}/{decision.from_version}"
    )
    reason = f": {decision.reason[:_LONGEST_REASON]}" if decision.reason else ""
    verb = decision.verdict.capitalize() if decision.verdict == "promoted" else "Rolled back to"
    return f"{verb} ({source}) by {decision.who}, {decision.when}{reason}"
