"""`sctransformer history`: the ledger of a model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sctransformer.registry.ledger import Decision


def history(name: Annotated[str, typer.Argument(help="Name of the registered model.")]) -> None:
    """Show every decision about a model, the newest first: promotions, rollbacks, refusals, overrides."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.registry import promotion

    decisions = promotion.history(name)
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
        cells = (number, when, source, str(decision.to_version), verdict, _said(decision))
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)
    if any(decision.outcome == "open" for decision in decisions):
        print(f"A decision is open: `sctransformer doctor {name}` says what of it was carried out.")


def _said(decision: "Decision") -> str:
    """One line each, so that they share the widest column: beside one another they would break words at 80 columns."""
    from sctransformer.registry.gates import closed

    who = decision.who.partition("<")[0].strip() or decision.who  # the address is in the ledger
    lines = (
        who + (f": {decision.reason}" if decision.reason else ""),
        decision.note,
        _named("closed", closed(decision.gates)),
        _named("overridden", (gate.gate for gate in decision.overridden)),
        _named(f"switched off in {decision.policy or 'the policy'}", (gate.gate for gate in decision.switched_off)),
        _named("not readable", decision.unreadable),
    )
    return "\n".join(filter(None, lines))


def _named(what: str, gates: Iterable[str]) -> str:
    names = ", ".join(gates)
    return f"{what}: {names}" if names else ""
