"""`sctransformer history`: the ledger of a model."""

from typing import Annotated

import typer


def history(name: Annotated[str, typer.Argument(help="Name of the registered model.")]) -> None:
    """Show every decision about a model, the newest first: promotions, rollbacks, refusals, overrides."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.registry import promotion
    from sctransformer.registry.gates import closed

    decisions = promotion.history(name)
    if not decisions:
        print(f"{name}: no decision yet.")
        return
    table = Table(box=None)
    for column in ("", "when (UTC)", "who", "from", "to", "verdict", "closed gates", "reason"):
        wraps = column in ("who", "closed gates", "reason")
        table.add_column(column, overflow="fold", no_wrap=not wraps)
    for decision in decisions:
        verdict = decision.verdict if decision.outcome == "done" else f"{decision.verdict} ({decision.outcome})"
        source = "-" if decision.from_version is None else str(decision.from_version)
        over = [f"{gate.gate} (overridden)" for gate in decision.overridden]
        shut = ", ".join([*closed(decision.gates), *over]) or "-"
        reason = "; ".join(filter(None, (decision.reason, decision.note))) or "-"
        when = decision.when[:16].replace("T", " ")
        who = decision.who.partition("<")[0].strip() or decision.who  # the address is in the ledger
        number = str(decision.number or "")
        cells = (number, when, who, source, str(decision.to_version), verdict, shut, reason)
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)
    if any(decision.outcome == "open" for decision in decisions):
        print(f"A decision is open: `sctransformer doctor {name}` says what of it was carried out.")
