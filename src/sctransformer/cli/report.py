"""`sctransformer report`: a page to explore of an annotated file, a training or a model."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.errors import UserError
from sctransformer.progress import status_line


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|OUTPUTS|MODEL|RUN",
            help="An annotated h5ad file or zarr folder, the folder outputs of a project, a model (a bundle's folder, "
            "NAME@ALIAS or NAME/VERSION), or the ID or name of a run.",
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
    sctransformer report outputs
    sctransformer report celltype@champion -o champion.html
    """  # noqa: D301  \b keeps typer from joining the lines
    from sctransformer.report.page import write_page
    from sctransformer.report.sources import default_target, report_of

    target = output or default_target(source)
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give the name of the HTML file.")
    if Path(source).exists() and target.exists() and target.samefile(source):
        raise UserError(f"{target}: is the file to read; give another name for the HTML file.")
    with status_line(f"Reading {source}; a map of 50,000 cells takes minutes"):
        found = report_of(source, model)
    write_page(target, found)
    for note in found.notes:
        typer.echo(f"Note: {note}", err=True)
    typer.echo(f"{target}: open it in a browser ({target.stat().st_size / 1e6:.1f} MB)")
