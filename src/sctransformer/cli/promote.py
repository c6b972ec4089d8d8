"""`sctransformer promote`: gates, ledger, aliases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sctransformer.registry.gates import GateResult, Value


TEST_CELLS = Path("outputs/evaluation/test_cells.h5ad")
"""What the stage `evaluate` writes."""


def promote(
    model: Annotated[
        str, typer.Argument(metavar="NAME/VERSION", help="The version, for example celltype/7 or celltype@candidate.")
    ],
    first: Annotated[bool, typer.Option("--first", help="There is no champion yet, and that is right.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the gates say.")] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--override", metavar="GATE", help="Pass over this gate if it is closed; needs --reason. Repeatable."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "",
    cells: Annotated[
        Path | None,
        typer.Option(
            help="Labelled test cells on which candidate and champion are scored again; left out: "
            "outputs/evaluation/test_cells.h5ad, where there is one."
        ),
    ] = None,
    policy: Annotated[Path, typer.Option(help="Thresholds of the gates.")] = Path("registry/policy.yaml"),
) -> None:
    """Make a version the champion, if every gate lets it through. Ends with 1 when a gate is closed.

    \b
    sctransformer promote celltype/7 --dry-run
    sctransformer promote celltype/7 --reason "new donors"
    sctransformer promote celltype/7 --override champion --reason "the old test cells hold mislabelled NK cells"
    """  # noqa: D301  \b keeps typer from joining the lines
    from sctransformer.registry import promotion
    from sctransformer.registry.gates import closed
    from sctransformer.registry.models import version_of
    from sctransformer.registry.policy import load_policy

    name, version = version_of(model)
    decision = promotion.promote(
        name,
        version,
        policy=load_policy(policy),
        policy_file=policy,
        first=first,
        reason=reason,
        overrides=override or (),
        cells=cells or (TEST_CELLS if TEST_CELLS.exists() else None),
        dry_run=dry_run,
    )
    if decision.gates:
        _print_gates(decision.gates)
    replaced = (
        "there was no champion" if decision.from_version is None else f"{name}/{decision.from_version} is previous"
    )
    if decision.verdict == "refused":
        shut = ", ".join(closed(decision.gates))
        print(f"{name}/{version} {'would be' if dry_run else 'is'} refused; closed: {shut}.")
        raise typer.Exit(1)
    if decision.from_version == version:
        print(f"{name}/{version} is the champion already; nothing was changed.")
    elif dry_run:
        print(f"{name}/{version} would be promoted; nothing was changed.")
    else:
        print(f"{name}/{version} is the champion; {replaced}.")


def _print_gates(gates: "list[GateResult]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("gate", "value", "threshold", "verdict", "reason")
    for gate in gates:
        verdict = "[green]passed[/green]" if gate.passed else "[red]closed[/red]"
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
