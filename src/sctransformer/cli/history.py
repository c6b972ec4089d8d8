"""`sctransformer history`: the ledger of a model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sctransformer.registry.ledger import Decision


def history(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the registered model.")]) -> None:
    """Show every decision about a model, newest first: promotions, rollbacks, refusals, overrides."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.registry.history import decisions_about

    decisions = decisions_about(name)
    if not decisions:
        print(f"{name}: no decision yet.")
        return
    table = Table(box=None)
    for column in ("", "when (UTC)", "from", "to", "verdict"):
        table.add_column(column, no_wrap=True)
    table.add_column("who, why, gates", overflow="fold")
    for decision in decisions:
        verdict = decision.verdict if decision.outcome == "done" else f"{decision.verdict} ({decision.outcome})"
        source = "-" if decision.from_version is None else str(decision.from_version)
        when = decision.when[:16].replace("T", " ")
        number = str(decision.number or "")
        cells = (number, when, source, str(decision.to_version), verdict, _details(decision))
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)
    if any(decision.outcome == "open" for decision in decisions):
        print(f"A decision is open: `sctransformer doctor {name}` shows what was carried out.")


def _details(decision: "Decision") -> str:
    """Who, why and which gates, one per line so that they fit the widest column of 80."""
    from sctransformer.registry.gates import failed

    who = decision.who.partition("<")[0].strip() or decision.who  # the address is in the ledger
    lines = (
        who + (f": {decision.reason}" if decision.reason else ""),
        decision.note,
        _named("failed", failed(decision.gates)),
        _named("overridden", (gate.gate for gate in decision.overridden)),
        _named(f"switched off in {decision.policy or 'the policy'}", (gate.gate for gate in decision.switched_off)),
        _named("not readable", decision.unreadable),
    )
    return "\n".join(filter(None, lines))


def _named(what: str, gates: Iterable[str]) -> str:
    names = ", ".join(gates)
    return f"{what}: {names}" if names else ""
