"""`sctransformer annotate`: label the cells of files."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer._constants import GraphForm
from sctransformer.annotation.settings import (
    DEFAULTS,
    AbsentGenes,
    AnnotationSettings,
    ClusterSettings,
    Format,
    RegulatorOutput,
)
from sctransformer.cli.options import option_for
from sctransformer.errors import exit_code_of, printable
from sctransformer.wording import some

if TYPE_CHECKING:
    from rich.console import Console

    from sctransformer.annotation.files import FileOutcome
    from sctransformer.annotation.summary import AnnotationSummary

_GENES_SHOWN = 10
_SPEED = "Speed and machine"
_reading = partial(option_for, AnnotationSettings, rich_help_panel="Reading the cells")
_labels = partial(option_for, AnnotationSettings, rich_help_panel="Labels and output")
_speed = partial(option_for, AnnotationSettings, rich_help_panel=_SPEED)


def annotate(
    indata: Annotated[
        str,
        typer.Option(
            "--indata",
            "-i",
            metavar="PATH|URL",
            help="Raw counts: an h5ad file, a zarr folder, a folder of those, a pattern in quotes, or a URL such as "
            "s3://bucket/new/.",
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A bundle's folder, NAME@ALIAS or NAME/VERSION.")
    ],
    outdir: Annotated[Path, typer.Option("--outdir", "-o", metavar="FOLDER", help="Folder for the results.")],
    threshold: Annotated[float | None, _labels("threshold", metavar="SHARE")] = DEFAULTS.threshold,
    reject_novel: Annotated[bool, _labels("reject_novel", "--reject-novel/--label-novel")] = DEFAULTS.reject_novel,
    min_coverage: Annotated[float, _reading("min_coverage", metavar="SHARE")] = DEFAULTS.min_coverage,
    counts: Annotated[str | None, _reading("counts", metavar="PLACE")] = DEFAULTS.counts,
    library_size_column: Annotated[
        str | None, _reading("library_size_column", metavar="COLUMN")
    ] = DEFAULTS.library_size_column,
    absent_genes: Annotated[AbsentGenes, _reading("absent_genes")] = DEFAULTS.absent_genes,
    majority_voting: Annotated[bool, _labels("majority_voting", "--majority-voting")] = DEFAULTS.majority_voting,
    probabilities: Annotated[bool, _labels("probabilities", "--probabilities")] = DEFAULTS.probabilities,
    regulators: Annotated[RegulatorOutput, _labels("regulators", "--regulators")] = DEFAULTS.regulators,
    variant: Annotated[GraphForm, _speed("variant")] = DEFAULTS.variant,
    output_format: Annotated[Format, _labels("format", "--format")] = DEFAULTS.format,
    batch_size: Annotated[int | None, _speed("batch_cells", metavar="CELLS")] = DEFAULTS.batch_cells,
    threads: Annotated[int | None, _speed("threads", metavar="N")] = DEFAULTS.threads,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Score with Ray: on the cluster of RAY_ADDRESS, else on this machine.",
            rich_help_panel=_SPEED,
        ),
    ] = False,
    workers: Annotated[
        int, option_for(ClusterSettings, "workers", metavar="N", rich_help_panel=_SPEED)
    ] = ClusterSettings.model_construct().workers,
) -> None:
    r"""Label cells with a trained model.

    Writes OUTDIR/<name>_annotated.h5ad for each file: a copy with obs predicted_labels and conf_score, obsm
    X_sctransformer and uns sctransformer added. The most likely label of an unknown cell is in obs
    predicted_labels_raw. obs top_regulators names the regulators that stand out in a cell among those typical of its
    label; labels rest on genes, so they are not the reason of the label. The input is never changed.

    With a pattern, folders from the first wildcard on are kept: 'runs/*/cells.h5ad' writes
    OUTDIR/s1/cells_annotated.h5ad for runs/s1/cells.h5ad. Files in OUTDIR are not used as input.

    Repeating a command changes nothing; an interrupted run resumes.

    Exit codes:

    \b
      0  all files labelled
      1  no file labelled; the message says why
      2  wrong command line
      3  some files labelled, some not
     70  internal error
     73  the output cannot be written
     75  another process is annotating the same file
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
    from sctransformer.annotation.regulators import warn_without_activities
    from sctransformer.annotation.scorer import LocalScorer, Scorer
    from sctransformer.annotation.sources import find_sources
    from sctransformer.progress import cells_bar
    from sctransformer.registry.loading import load_model

    logging.basicConfig(format="Note: %(message)s", level=logging.WARNING)
    settings = AnnotationSettings(
        threshold=threshold,
        reject_novel=reject_novel,
        min_coverage=min_coverage,
        counts=counts,
        library_size_column=library_size_column,
        absent_genes=absent_genes,
        variant=variant,
        majority_voting=majority_voting,
        probabilities=probabilities,
        regulators=regulators,
        batch_cells=batch_size,
        threads=threads,
        format=output_format,
    )
    asked = load_model(model)
    warn_without_activities(asked.bundle, settings)
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
                typer.echo(printable(f"Error: {outcome.error}"), err=True)
            outcomes.append(outcome)
    if len(sources) == 1:
        _show(console, outcomes[0].done)
        return
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise typer.Exit(exit_code_of(errors, len(outcomes)))


def of_file(outcome: "FileOutcome") -> str:
    """The outcome for a file, in one line."""
    if outcome.summary is None:
        return f"{outcome.source}: not labelled"
    summary = outcome.summary
    did = "unchanged" if summary.unchanged else f"{summary.cells_per_second:,.0f} cells/s"
    return f"{summary.output}: {summary.cells:,} cells, {summary.rejected:,} unknown, {did}"


def _line(console: "Console", text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _show(console: "Console", summary: "AnnotationSummary") -> None:
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
    line(f"rejected      {_rejected(summary)}")
    if summary.novelty_note is not None:
        line(f"novelty       {summary.novelty_note}")
    line(f"gene coverage {summary.coverage:.1%}{_missing(summary.missing_genes)}")
    if summary.regulators is not None:
        line(f"regulators    {summary.regulators}")
    if summary.repeated_genes:
        line(
            f"gene names    {some(summary.repeated_genes, _GENES_SHOWN)} occur more than once; their counts were summed"
        )
    line(f"read from     counts in {summary.counts_in}, genes in {summary.gene_names}")
    line(f"library size  {summary.library_size}{_larger(summary.larger_column)}")
    for note in summary.notes if summary.unchanged else []:  # otherwise they were logged
        line(f"note          {note}")
    line(f"ran on        {summary.provider}")
    line(f"output        {summary.output}")


def _pace(summary: "AnnotationSummary") -> str:
    if summary.unchanged:
        return "; the output exists and is unchanged"
    scored = f" in {summary.seconds:.1f} s, {summary.cells_per_second:,.0f} cells/s"
    return f"{scored}; {summary.taken_over:,} were scored before an interruption" if summary.taken_over else scored


def _rejected(summary: "AnnotationSummary") -> str:
    """Number and share of rejected cells, then the number by reason."""
    reasons = ", ".join(f"{reason} {cells:,}" for reason, cells in summary.rejected_by.items() if cells)
    share = f"{summary.rejected:,} cells, {summary.rejected / summary.cells:.1%}"
    return f"{share}{f' ({reasons})' if reasons else ''}; confidence threshold {summary.threshold:.3g}"


def _larger(column: str | None) -> str:
    return "" if column is None else f"; obs[{column!r}] holds larger ones"


def _missing(genes: list[str]) -> str:
    return f"; missing: {some(genes, _GENES_SHOWN)}" if genes else ""
