"""`sctransformer explain`: what the labels of a model, or of single cells, rest on."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sctransformer.annotation.settings import DEFAULTS, AbsentGenes, AnnotationSettings
from sctransformer.cli.options import option_for
from sctransformer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sctransformer.annotation.explain import Explanation
    from sctransformer.annotation.explain_cells import CellExplanation
    from sctransformer.annotation.faithfulness import DeletionCurve

_GENES_IN_OVERVIEW = 6
_REGULATORS_IN_OVERVIEW = 3
_UNSIGNED = {"mean", "mean in type", "mean in others", "expression"}
"""Headings of columns that are printed without a plus sign."""
_reading = partial(option_for, AnnotationSettings, rich_help_panel="Reading the cells")


def explain(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundle's folder, NAME@ALIAS or NAME/VERSION.", show_default=False)
    ],
    cells: Annotated[
        Path | None,
        typer.Argument(metavar="CELLS", help="Raw counts: an h5ad file or a zarr folder.", show_default=False),
    ] = None,
    cell_type: Annotated[
        str | None, typer.Option(metavar="NAME", help="Explain one cell type in full.", show_default="all, in short")
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A cell of CELLS to explain; may be repeated.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="Number of genes, and of regulators, to list.")] = 20,
    faithfulness: Annotated[
        bool,
        typer.Option(
            "--faithfulness",
            help="Test on CELLS that the genes decide labels: log odds without the top genes of each cell's label, and "
            "without random genes of equal mean expression.",
        ),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write all tables to a JSON file.")
    ] = None,
    counts: Annotated[str | None, _reading("counts", metavar="PLACE")] = DEFAULTS.counts,
    library_size_column: Annotated[
        str | None, _reading("library_size_column", metavar="COLUMN")
    ] = DEFAULTS.library_size_column,
    min_coverage: Annotated[float, _reading("min_coverage", metavar="SHARE")] = DEFAULTS.min_coverage,
    absent_genes: Annotated[AbsentGenes, _reading("absent_genes")] = DEFAULTS.absent_genes,
) -> None:
    """Show the genes and regulators that labels rest on: of a model, or of single cells.

    Labels are linear in gene expression and in the activities of regulators, so the contribution of each gene is exact.
    For a cell type it is weight times (mean expression in the type minus that in the other types); for a cell, what
    the gene adds to the log odds of its label against the runner-up. Needs a model with model.direction targets.

    \b
    sctransformer explain celltype@champion
    sctransformer explain celltype@champion --cell-type "CD19+ B" --top 10
    sctransformer explain celltype@champion new.h5ad --cell AAACATACAACCAC-1
    sctransformer explain celltype@champion new.h5ad --faithfulness
    """  # noqa: D301  \b keeps typer from joining the lines
    _require_fitting(cells, cell_type, cell or [], faithfulness)
    from rich.console import Console

    from sctransformer.registry.loading import load_model

    loaded = load_model(model)
    console = Console(highlight=False, soft_wrap=True)
    if cells is None:
        of_types = loaded.explain(cell_type, top)
        (_print_overview if cell_type is None else _print_type)(console, of_types)
        _write(json_file, model, loaded.identity, of_types._asdict())
        return
    from sctransformer.annotation.model import checked_settings
    from sctransformer.annotation.reading import check_cells, open_cells

    settings = checked_settings(
        counts=counts, library_size_column=library_size_column, min_coverage=min_coverage, absent_genes=absent_genes
    )
    vocabulary = loaded.bundle.vocabulary
    with open_cells(cells, vocabulary, settings.counts) as opened:
        read = check_cells(opened, vocabulary, settings.min_coverage, settings.library_size_column)
        read.log_notes()
        of_cells = loaded.explain_read(read, cell, top, settings) if cell else None
        curve = loaded.faithfulness(read, settings) if faithfulness else None
    if of_cells is not None:
        _print_cells(console, of_cells)
    if curve is not None:
        _print_curve(console, curve)
    more = {} if curve is None else {"faithfulness": curve._asdict()}
    _write(json_file, model, loaded.identity, {} if of_cells is None else of_cells._asdict(), more)


def _require_fitting(cells: Path | None, cell_type: str | None, cell: list[str], faithfulness: bool) -> None:
    """Refuse options that do not fit each other."""
    if cells is None and (cell or faithfulness):
        option = "--cell NAME" if cell else "--faithfulness"
        raise UserError(f"{option.split()[0]} needs a file: sctransformer explain MODEL CELLS {option}.")
    if cells is not None and cell_type is not None:
        raise UserError("--cell-type explains a model; leave out CELLS, or name cells with --cell.")
    if cells is not None and not (cell or faithfulness):
        raise UserError(f"{cells}: name at least one of its cells with --cell, or use --faithfulness.")


def _print_type(console: "Console", found: "Explanation") -> None:
    row = found.summary.iloc[0]
    console.print(f"[bold]{_plain(row['cell_type'])}[/bold]", "compared with the other cell types")
    console.print(
        f"genes {row['genes']:+.2f} and activities {_number(row['activities'])} log odds; the listed genes have "
        f"{row['listed_share']:.0%} of all positive contributions of genes"
    )
    _print_table(
        console,
        ("gene", "contribution", "weight", "mean in type", "mean in others"),
        _rows(found.genes, "gene", "contribution", "weight", "mean", "mean_others"),
    )
    if not len(found.regulators):
        console.print("No regulator is typical of this cell type.")
        return
    _print_table(
        console,
        ("regulator", "difference (SD)", "contribution", "targets", "targets that carry it"),
        _rows(found.regulators, "regulator", "difference", "contribution", "targets", "top_targets"),
    )


def _print_overview(console: "Console", found: "Explanation") -> None:
    """One row per cell type."""
    rows = []
    for _, row in found.summary.iterrows():
        own = {name: table[table["cell_type"] == row["cell_type"]] for name, table in found._asdict().items()}
        regulators = own["regulators"].head(_REGULATORS_IN_OVERVIEW)
        signed = [
            f"{name}{'+' if difference > 0 else '-'}"
            for name, difference in zip(regulators["regulator"], regulators["difference"], strict=True)
        ]
        genes = " ".join(
            f"{gene}{'-' if weight < 0 else ''}"
            for gene, weight in own["genes"][["gene", "weight"]].head(_GENES_IN_OVERVIEW).itertuples(index=False)
        )
        share = row["activities_share"]
        rows.append((row["cell_type"], genes, " ".join(signed), "-" if share != share else f"{share:.0%}"))
    _print_table(console, ("cell type", "genes", "typical regulators", "activities"), rows)
    console.print(
        "Genes: the largest contributions; a gene with - contributes because the others express it more. Activities: "
        "their part of the log odds; 0% if training chose regressions on genes alone. More: --cell-type NAME."
    )


def _print_cells(console: "Console", found: "CellExplanation") -> None:
    for name, row in found.summary.iterrows():
        reason = f" ({row['unknown_reason']})" if row["unknown_reason"] else ""
        console.print(f"[bold]{_plain(name)}[/bold]: {_plain(row['label'])}{reason}")
        novelty = "" if row["novelty"] != row["novelty"] else f"; novelty {row['novelty']:.2f}"
        console.print(
            f"most likely {_plain(row['most_likely'])} ({row['confidence']:.3f}), runner-up "
            f"{_plain(row['runner_up'])} ({row['runner_up_confidence']:.3f}){novelty}"
        )
        console.print(
            f"log odds {row['log_odds']:+.2f} = genes {row['genes']:+.2f}, activities {row['activities']:+.2f}, "
            f"baseline {row['baseline']:+.2f}"
        )
        genes = found.genes[found.genes["cell"] == name]
        columns, headings = ("gene", "contribution", "expression", "mean"), ("contribution", "expression", "mean")
        _print_table(console, ("gene for", *headings), _rows(genes[genes["contribution"] > 0], *columns))
        _print_table(console, ("gene against", *headings), _rows(genes[genes["contribution"] < 0], *columns))
        regulators = found.regulators[found.regulators["cell"] == name]
        if len(regulators):
            _print_table(
                console,
                ("regulator", "activity (SD)", "contribution"),
                _rows(regulators, "regulator", "activity", "contribution"),
            )
        console.print()


def _print_curve(console: "Console", curve: "DeletionCurve") -> None:
    _print_table(
        console,
        ("genes set to their mean", "log odds without top genes", "without random genes"),
        zip(curve.numbers, curve.top, curve.random, strict=True),
    )
    console.print(
        f"On average over these numbers of genes, log odds are {curve.area:.2f} lower without the top genes of the "
        f"label than without random genes of equal mean expression (95 % interval {curve.low:.2f} to {curve.high:.2f}, "
        f"{curve.cells} cells resampled)."
    )


def _rows(table: "pd.DataFrame", *columns: str) -> Iterable[Iterable[Any]]:
    return table[list(columns)].itertuples(index=False)


def _print_table(console: "Console", headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    from rich.table import Table

    headings, table = tuple(headings), Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = zip(headings, row, strict=True)
        table.add_row(*(_plain(_number(value, heading not in _UNSIGNED)) for heading, value in cells))
    console.print(table)


def _number(value: Any, signed: bool = True) -> str:
    """Text of a value of a table; `-` for NaN."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "-"
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def _plain(text: Any) -> str:
    from rich.markup import escape

    return escape(str(text))


def _write(
    target: Path | None,
    model: str,
    identity: str,
    tables: "Mapping[str, pd.DataFrame]",
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the tables as lists of records; NaN becomes null."""
    if target is None:
        return
    from sctransformer.files import write_json

    records = {name: json.loads(table.reset_index().to_json(orient="records")) for name, table in tables.items()}
    for rows in records.values():
        for row in rows:
            row.pop("index", None)
    write_json(target, {"model": model, "identity": identity, **records, **more})
    typer.echo(f"{target}: written")
