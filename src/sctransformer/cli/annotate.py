"""`sctransformer annotate`: label the cells of files."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer._constants import GraphForm
from sctransformer.errors import exit_code_of

if TYPE_CHECKING:
    from rich.console import Console

    from sctransformer.annotation.files import FileOutcome
    from sctransformer.annotation.summary import AnnotationSummary

_GENES_SHOWN = 10


class OutputFormat(StrEnum):
    """See `AnnotationSettings.format`."""

    anndata = "anndata"
    parquet = "parquet"
    csv = "csv"


class AbsentGenes(StrEnum):
    """See `AnnotationSettings.absent_genes`."""

    mean = "mean"
    zero = "zero"


def annotate(
    indata: Annotated[
        str,
        typer.Option(
            "--indata",
            "-i",
            help="Raw counts: an h5ad file, a zarr folder, a folder of those, a pattern in quotes, or a URL such as s3://bucket/new/.",
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A bundle's folder, NAME@ALIAS or NAME/VERSION.")],
    outdir: Annotated[Path, typer.Option("--outdir", "-o", help="Folder of the results.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Cells under this confidence are 'unknown'.", show_default="the model's"),
    ] = None,
    min_coverage: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Smallest share of the model's expression the file's genes must have."),
    ] = 0.8,
    counts: Annotated[
        str | None, typer.Option(help="Where raw counts stand: X, raw.X or a layer's name.", show_default="found")
    ] = None,
    library_size_column: Annotated[
        str | None,
        typer.Option(
            help="Column of obs with the counts of the whole cell.",
            show_default="library_size if there, else their sum",
        ),
    ] = None,
    absent_genes: Annotated[
        AbsentGenes,
        typer.Option(help="A gene that the file lacks is shown as in the average training cell, or as not expressed."),
    ] = AbsentGenes.mean,
    majority_voting: Annotated[
        bool,
        typer.Option("--majority-voting", help="Also give groups of alike cells (Leiden) the label of their majority."),
    ] = False,
    variant: Annotated[
        GraphForm,
        typer.Option(help="Form of the graph: float16 for GPUs, int8 for small machines; each passed a gate."),
    ] = "float32",
    output_format: Annotated[
        OutputFormat,
        typer.Option("--format", help="A copy of the input with the labels in it, or a table."),
    ] = OutputFormat.anndata,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Cells scored at a time: memory, not labels.", show_default="measured")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads, at most one a core.", show_default="one a core")
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Score on the Ray cluster of RAY_ADDRESS, else on Ray here."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Sessions on the cluster.")] = 2,
) -> None:
    r"""Label cells.

    Writes OUTDIR/<name>_annotated.h5ad for each file: the file itself, with obs predicted_labels and conf_score, obsm
    X_sctransformer and uns sctransformer beside what it held. The input is never changed.

    Of a pattern, folders from the first wildcard on are kept: 'runs/*/cells.h5ad' writes OUTDIR/s1/cells_annotated.h5ad
    for runs/s1/cells.h5ad. What was annotated into OUTDIR is not taken for an input.

    The same file, model and options again change nothing; a run that was stopped goes on where it was.

    Exit codes:

    \b
      0  all labelled
      1  nothing labelled, the sentence says why
      2  wrong command line
      3  some files labelled and some not
     70  a defect of this program
     73  the output cannot be written
     75  another process is at it
    130  stopped by Ctrl-C
    143  stopped by SIGTERM

    \b
    sctransformer annotate -i new.h5ad -m celltype@champion -o annotated/
    sctransformer annotate -i 'runs/*/cells.h5ad' -m celltype/7 -o annotated/
    sctransformer annotate -i s3://bucket/new/ -m celltype@champion -o annotated/
    """
    import logging

    from rich.console import Console

    from sctransformer.annotation.files import FileOutcome, annotate_each
    from sctransformer.annotation.pipeline import FileAnnotator
    from sctransformer.annotation.scorer import LocalScorer, Scorer
    from sctransformer.annotation.settings import AnnotationSettings
    from sctransformer.annotation.sources import find_sources
    from sctransformer.progress import cells_bar
    from sctransformer.registry.loading import load_model

    logging.basicConfig(format="Note: %(message)s", level=logging.WARNING)
    settings = AnnotationSettings(
        threshold=threshold,
        min_coverage=min_coverage,
        counts=counts,
        library_size_column=library_size_column,
        absent_genes=absent_genes.value,
        variant=variant,
        majority_voting=majority_voting,
        batch_cells=batch_size,
        threads=threads,
        format=output_format.value,
    )
    asked = load_model(model)
    sources = find_sources(indata, outdir)
    console, outcomes = Console(), list[FileOutcome]()
    scorer: Scorer
    if cluster:
        from sctransformer.annotation.cluster import ClusterScorer

        scorer = ClusterScorer(asked.bundle, settings.scoring, workers)
    else:
        scorer = LocalScorer(asked.bundle, settings.scoring)

    def place() -> str:
        return "" if len(sources) == 1 else f"file {len(outcomes) + 1} of {len(sources)}"

    with cells_bar(lambda: f"Annotating {place()}") as on_progress:
        annotator = FileAnnotator(asked, outdir, settings, scorer, on_progress=on_progress)
        for outcome in annotate_each(annotator, sources):
            if len(sources) == 1 and outcome.error is not None:
                raise outcome.error
            if len(sources) > 1:
                _line(console, f"{place()}: {of_file(outcome)}")
            if outcome.error is not None:
                typer.echo(f"Error: {outcome.error}", err=True)
            outcomes.append(outcome)
    if len(sources) == 1:
        _show(console, outcomes[0].done)
        return
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise typer.Exit(exit_code_of(errors, len(outcomes)))


def of_file(outcome: "FileOutcome") -> str:
    """What became of a file, in a line."""
    if outcome.summary is None:
        return f"{outcome.source}: not labelled"
    summary = outcome.summary
    did = "unchanged" if summary.unchanged else f"{summary.cells_per_second:,.0f} cells/s"
    return f"{summary.output}: {summary.cells:,} cells, {summary.rejected:,} unknown, {did}"


def _line(console: "Console", text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _show(console: "Console", summary: "AnnotationSummary") -> None:
    from functools import partial

    from rich.table import Table
    from rich.text import Text

    line = partial(_line, console)
    table = Table("label", "cells", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, cells in summary.labels.items():
        table.add_row(Text(label), f"{cells:,}", f"{cells / summary.cells:.1%}")
    console.print(table, markup=False)
    line(f"cells         {summary.cells:,}{_pace(summary)}")
    line(f"rejected      {summary.rejected:,} cells under confidence {summary.threshold:.3g}{_without(summary)}")
    line(f"gene coverage {summary.coverage:.1%}{_missing(summary.missing_genes)}")
    if summary.repeated_genes:
        line(f"gene names    {_some(summary.repeated_genes)} occur more than once; their counts were summed")
    line(f"read from     counts in {summary.counts_in}, genes in {summary.gene_names}")
    line(f"library size  {summary.library_size}{_larger(summary.larger_column)}")
    line(f"ran on        {summary.provider}")
    line(f"output        {summary.output}")


def _pace(summary: "AnnotationSummary") -> str:
    if summary.unchanged:
        return "; the output was there already and is unchanged"
    scored = f" in {summary.seconds:.1f} s, {summary.cells_per_second:,.0f} cells/s"
    return f"{scored}; {summary.taken_over:,} were scored before a stop" if summary.taken_over else scored


def _without(summary: "AnnotationSummary") -> str:
    return f" or without counts ({summary.without_counts:,})" if summary.without_counts else ""


def _larger(column: str | None) -> str:
    return "" if column is None else f"; obs[{column!r}] holds larger ones"


def _missing(genes: list[str]) -> str:
    return f"; missing: {_some(genes)}" if genes else ""


def _some(genes: list[str]) -> str:
    more = len(genes) - _GENES_SHOWN
    return ", ".join(genes[:_GENES_SHOWN]) + (f" and {more} more" if more > 0 else "")
