"""`sctransformer report`: a page to explore of an annotated file, a training or a model."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.progress import status_line


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER|OUTPUTS|MODEL|RUN",
            help="An annotated h5ad file or zarr folder, a folder of these, the folder outputs of a project, a model "
            "(a bundle's folder, NAME@ALIAS or NAME/VERSION), or the ID or name of a run.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The HTML file.", show_default="beside FILE or in OUTPUTS, else here"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="The model that labelled FILE, whose network is shown.",
            show_default="the one that FILE names",
        ),
    ] = None,
) -> None:
    """Write an HTML page to explore: a map of cells, regulators by cell type, the targets of each regulator, and for a
    training its results beside logistic regression and shuffled networks.

    The page is one file and works offline. Activities of regulators need a file that was annotated with --regulators
    all.

    \b
    sctransformer report annotated/new_cells_annotated.h5ad
    sctransformer report annotated
    sctransformer report outputs
    sctransformer report celltype@champion -o champion.html
    """  # noqa: D301  \b keeps typer from joining the lines
    from sctransformer.reports.writing import default_target, write_report

    target = output or default_target(source)
    with status_line(f"Reading {source}; a map of 50,000 cells takes minutes"):
        found = write_report(source, target, model)
    for note in found.notes:
        typer.echo(f"Note: {note}", err=True)
    typer.echo(f"{target}: open it in a browser ({target.stat().st_size / 1e6:.1f} MB)")
