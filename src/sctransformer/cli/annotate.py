"""`sctransformer annotate`: label the cells of one file."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sctransformer.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from sctransformer.annotate.run import AnnotationSummary

_REGISTERED = re.compile(r"[^/@]+(@[^/@]+|/\d+)")
_GENES_SHOWN = 10


class _Model(NamedTuple):
    folder: Path
    version: str


def annotate(
    indata: Annotated[Path, typer.Option("--indata", "-i", help="An h5ad file with raw counts.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A bundle's folder, NAME@ALIAS or NAME/VERSION.")],
    outdir: Annotated[Path, typer.Option("--outdir", "-o", help="Folder of the result.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Cells under this confidence are 'unknown'.", show_default="the model's"),
    ] = None,
    min_coverage: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Smallest share of the model's expression the file's genes must have."),
    ] = 0.8,
    library_size_column: Annotated[
        str | None,
        typer.Option(
            help="Column of obs with the counts of the whole cell.",
            show_default="library_size if there, else sums of X",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells scored at a time: memory, not labels.")] = 64,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="one a core")] = None,
) -> None:
    """Label the cells of a file.

    Writes OUTDIR/<name>_annotated.h5ad: the file itself, with obs predicted_labels and conf_score, obsm X_sctransformer
    and uns sctransformer beside what it held. The input is never changed.
    """
    import logging

    from rich.console import Console

    from sctransformer.annotate.run import AnnotationSettings, annotate_file
    from sctransformer.cli.progress import cells_bar
    from sctransformer.export.bundle import read_bundle

    logging.basicConfig(format="Note: %(message)s", level=logging.WARNING)
    settings = AnnotationSettings(threshold, min_coverage, library_size_column, batch_size, threads)
    found = find_model(model)
    bundle = read_bundle(found.folder)
    with cells_bar("Annotating") as on_progress:
        summary = annotate_file(bundle, model, found.version, indata, outdir, settings, on_progress)
    _show(Console(), summary)


def find_model(reference: str) -> _Model:
    """The bundle that a reference stands for: a folder as it is, anything else by the registry.

    Raises:
        UserError: it is neither a folder nor a model of the registry.
    """
    if Path(reference).is_dir():
        return _Model(Path(reference), "unregistered")
    if not _REGISTERED.fullmatch(reference):
        raise UserError(f"{reference}: no such folder; --model takes a bundle's folder, NAME@ALIAS or NAME/VERSION.")
    from sctransformer.registry.models import resolve  # MLflow takes seconds to import

    resolved = resolve(reference)
    return _Model(resolved.folder, str(resolved.version))


def _show(console: "Console", summary: "AnnotationSummary") -> None:
    from rich.table import Table
    from rich.text import Text

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    table = Table("label", "cells", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, cells in summary.labels.items():
        table.add_row(Text(label), f"{cells:,}", f"{cells / summary.cells:.1%}")
    console.print(table, markup=False)
    line(f"cells         {summary.cells:,} in {summary.seconds:.1f} s, {summary.cells_per_second:,.0f} cells/s")
    line(f"rejected      {summary.rejected:,} cells under confidence {summary.threshold:.3g}{_without(summary)}")
    line(f"gene coverage {summary.coverage:.1%}{_missing(summary.missing_genes)}")
    if summary.repeated_genes:
        line(f"gene names    {_some(summary.repeated_genes)} occur more than once; their counts were summed")
    line(f"read from     counts in {summary.counts_in}, genes in {summary.gene_names}")
    line(f"library size  {summary.library_size}")
    line(f"ran on        {summary.provider}")
    line(f"output        {summary.output}")


def _without(summary: "AnnotationSummary") -> str:
    return f" or without counts ({summary.without_counts:,})" if summary.without_counts else ""


def _missing(genes: list[str]) -> str:
    return f"; missing: {_some(genes)}" if genes else ""


def _some(genes: list[str]) -> str:
    more = len(genes) - _GENES_SHOWN
    return ", ".join(genes[:_GENES_SHOWN]) + (f" and {more} more" if more > 0 else "")
