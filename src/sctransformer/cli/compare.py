"""`sctransformer compare`: two models side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sctransformer import layout


def compare(
    one: Annotated[str, typer.Argument(metavar="MODEL", help="For example celltype/7, or the folder of a bundle.")],
    other: Annotated[str, typer.Argument(metavar="MODEL", help="For example celltype/champion.")],
    cells: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Labelled test cells on which both are scored again.",
            show_default=f"{layout.TEST_CELLS_FILE}, if it exists",
        ),
    ] = None,
) -> None:
    """Show metrics of two models side by side, and where their data, network and parameters differ.

    With test cells, both models are scored on them, and the difference gets a 95 % interval from a paired bootstrap.

    \b
    sctransformer compare celltype/7 celltype/champion
    """  # noqa: D301  \b keeps typer from joining the lines
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.registry.compare import differences
    from sctransformer.registry.opening import open_model
    from sctransformer.registry.rescoring import read_test_cells, rescored

    cells = cells or (layout.TEST_CELLS_FILE if layout.TEST_CELLS_FILE.exists() else None)
    test_cells = None if cells is None else read_test_cells(cells)
    first, second = open_model(one), open_model(other)
    one_bundle, other_bundle = first.bundle, second.bundle
    table = Table(box=None)
    for column in ("", str(first), str(second)):
        table.add_column(escape(column), overflow="fold")
    for row in differences(one_bundle, other_bundle):
        table.add_row(escape(row.what), escape(_shown(row.one)), escape(_shown(row.other)))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if one_bundle.identity == other_bundle.identity:
        console.print("Both models predict the same labels.")
    if test_cells is not None:
        paired = rescored(one_bundle, other_bundle, test_cells)
        console.print(
            f"On the same {paired.cells} cells of {escape(str(cells))}: macro-F1 {paired.one:.3f} and "
            f"{paired.other:.3f}, difference {paired.difference:+.3f} (95 % interval {paired.low:+.3f} to "
            f"{paired.high:+.3f}, {paired.unit} resampled)"
        )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
