"""Reading the ledger: all decisions about a model, and those about one version."""

from sctransformer.registry import ledger
from sctransformer.registry.ledger import Decision
from sctransformer.registry.models import find_version, require_model
from sctransformer.registry.references import parse_reference, require_model_name
from sctransformer.tracking.store import connect, one_sentence


@one_sentence
def decisions_about(name: str) -> list[Decision]:
    """Every decision about a model, newest first; nothing is changed.

    Raises:
        UserError: there is no store, or no model or decision has this name.
    """
    client = connect(must_exist=True)
    require_model_name(name)
    found = ledger.decisions(client, name)
    if not found:
        require_model(client, name)
    return found


@one_sentence
def decisions_on(reference: str) -> list[str]:
    """One sentence for each decision about a version, newest first."""
    client = connect(must_exist=True)
    version = find_version(client, parse_reference(reference))
    found = [one for one in ledger.standing(client, version.name) if one.to_version == int(version.version)]
    return [
        f"{one.number}: {one.verdict if one.outcome == 'done' else f'{one.verdict} ({one.outcome})'} by {one.who}, "
        f"{one.when}" + (f": {one.reason}" if one.reason else "") + _exceptions(one)
        for one in found
    ]


def _exceptions(decision: Decision) -> str:
    """Gates that did not have to pass."""
    parts = [
        f"{what}: {', '.join(gate.gate for gate in gates)}"
        for what, gates in (("overridden", decision.overridden), ("switched off", decision.switched_off))
        if gates
    ]
    return f" ({'; '.join(parts)})" if parts else ""
