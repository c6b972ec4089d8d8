"""`sctransformer promote`: gates, ledger, aliases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer import layout

if TYPE_CHECKING:
    from sctransformer.registry.gate_checks import Value
    from sctransformer.registry.gates import GateResult


def promote(
    model: Annotated[
        str, typer.Argument(metavar="NAME/VERSION", help="The version, for example celltype/7 or celltype@candidate.")
    ],
    first: Annotated[bool, typer.Option("--first", help="Promote without a champion to compare with.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the gates.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="GATE", help="Override this gate if it fails; needs --reason. Repeatable."),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Reason, kept in the ledger.")] = "",
    cells: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Labelled test cells on which candidate and champion are scored again.",
            show_default=f"{layout.TEST_CELLS_FILE}, if it exists",
        ),
    ] = None,
    policy: Annotated[Path, typer.Option(metavar="FILE", help="Thresholds of the gates.")] = layout.POLICY,
) -> None:
    """Make a version the champion if it passes every gate. The exit code is 1 if a gate fails.

    \b
    sctransformer promote celltype/7 --dry-run
    sctransformer promote celltype/7 --reason "new donors"
    sctransformer promote celltype/7 --override champion --reason "the old test cells hold mislabelled NK cells"
    """  # noqa: D301  \b keeps typer from joining the lines
    from sctransformer import registry
    from sctransformer.registry.gates import failed

    decision = registry.promote(
        model, reason=reason, first=first, dry_run=dry_run, overrides=override or (), cells=cells, policy=policy
    )
    if decision.gates:
        _print_gates(decision.gates)
    name, version = decision.model, decision.to_version
    if decision.verdict == "refused":
        gates = ", ".join(failed(decision.gates))
        print(f"{name}/{version} {'would be' if dry_run else 'is'} refused; failed: {gates}.")
        raise typer.Exit(1)
    if decision.from_version == version:
        print(f"{name}/{version} is already the champion; nothing was changed.")
    elif dry_run:
        print(f"{name}/{version} would be promoted; nothing was changed.")
    elif decision.from_version is None:
        print(f"{name}/{version} is the champion; there was no champion.")
    else:
        print(f"{name}/{version} is the champion; {name}/{decision.from_version} is previous.")


def _print_gates(gates: "list[GateResult]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("gate", "value", "threshold", "verdict", "reason")
    for gate in gates:
        verdict = "[green]passed[/green]" if gate.passed else "[red]failed[/red]"
        if gate.overridden or gate.switched_off:
            verdict = f"[yellow]{'overridden' if gate.overridden else 'off'}[/yellow]"
        table.add_row(
            gate.gate, escape(_shown(gate.value)), escape(_shown(gate.threshold)), verdict, escape(gate.reason)
        )
    Console().print(table)


def _shown(value: "Value") -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
