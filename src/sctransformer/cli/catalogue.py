"""`sctransformer data add`, `data list`, `data show`: the datasets in data/catalogue.yaml, their cells under DVC."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sctransformer.cli.display import print_fields
from sctransformer.cli.options import option_for
from sctransformer.data.settings import CellColumns, DatasetDescription
from sctransformer.errors import UserError

if TYPE_CHECKING:
    from sctransformer.data.catalogue import Dataset
    from sctransformer.data.versioned import Tracked


def add(
    name: Annotated[str, typer.Argument(help="Name of the dataset: lower case letters, digits, _ and -.")],
    source: Annotated[str, typer.Argument(help="An h5ad file or zarr folder, or its URL (s3://, https://, gs://).")],
    label_column: Annotated[str, option_for(CellColumns, "label_column", show_default=False)],
    donor_column: Annotated[str | None, option_for(CellColumns, "donor_column")] = None,
    ontology: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|TABLE",
            help="Cell Ontology ids: a column of obs, or a CSV or TSV file with the columns cell_type and "
            "cell_type_ontology_term_id. Types without an id get that of their name, if it is a common one.",
        ),
    ] = None,
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    counts: Annotated[str | None, option_for(CellColumns, "counts")] = None,
    library_size_column: Annotated[str | None, option_for(CellColumns, "library_size_column")] = None,
    organism: Annotated[str, option_for(DatasetDescription, "organism")] = "human",
    license_: Annotated[str | None, option_for(DatasetDescription, "license", "--license")] = None,
    citation: Annotated[str | None, option_for(DatasetDescription, "citation")] = None,
    description: Annotated[str | None, option_for(DatasetDescription, "description")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of the same name.")] = False,
) -> None:
    """Check cells, put them under DVC and add them to data/catalogue.yaml; on an error nothing is changed.

    A file inside the project stays in its place. A file from elsewhere is copied, and a URL is imported, to data/raw.

    Example: sctransformer data add kang kang.h5ad --label-column cell_type --donor-column donor_id
    """
    from sctransformer.data.adding import add_dataset
    from sctransformer.data.versioned import size_of

    fields = {
        "label_column": label_column,
        "donor_column": donor_column,
        **_ontology(ontology),
        "gene_column": gene_column,
        "counts": counts,
        "library_size_column": library_size_column,
        "organism": organism,
        "license": license_,
        "citation": citation,
        "description": description,
    }
    added = add_dataset(name, source, fields, validate, force)
    cells = Path(added.entry.cells)
    typer.echo(f"\nadded {name}: {cells} ({_bytes(size_of(cells))})")
    before = added.replaced
    if before is not None and before.cells != added.entry.cells and Path(f"{before.cells}.dvc").is_file():
        typer.echo(f"no longer in the catalogue: {before.cells}; remove it with `dvc remove {before.cells}.dvc`")
    if added.tracked is not None and added.tracked.stage is None:
        typer.echo("upload:  dvc push")
    typer.echo(f"commit:  git add {shlex.join(map(str, added.files))} && git commit -m 'Dataset {name}'")
    typer.echo(f"train:   sctransformer train -S data={name}")


def list_datasets() -> None:
    """List the datasets of data/catalogue.yaml, and whether their cells are present."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.data.catalogue import CATALOGUE, read_catalogue
    from sctransformer.data.versioned import find_tracked, size_of

    datasets = read_catalogue()
    if not datasets:
        typer.echo(f"{CATALOGUE}: no dataset yet; add one with `sctransformer data add`.")
        return
    table = Table(box=None)
    for column in ("name", "cells", "size", "labels", "license"):
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for name, entry in datasets.items():
        cells = Path(entry.cells)
        tracked = find_tracked(cells)
        size = size_of(cells) if cells.exists() else (tracked.size if tracked else None)
        row = (
            name,
            entry.cells if cells.exists() else _missing(cells, tracked),
            "-" if size is None else _bytes(size),
            entry.label_column,
            entry.license or "-",
        )
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


def show(name: Annotated[str, typer.Argument(help="Name of the dataset.")]) -> None:
    """Show a dataset: its entry, its DVC hash and, if its cells are present, the number of cells of each type.

    Example: sctransformer data show pbmc68k
    """
    from sctransformer.data.catalogue import find_dataset, read_catalogue
    from sctransformer.data.versioned import find_tracked, size_of

    entry = find_dataset(read_catalogue(), name)
    cells = Path(entry.cells)
    tracked = find_tracked(cells)
    lines = [(field, "-" if value is None else str(value)) for field, value in entry.model_dump().items()]
    if tracked is None:
        lines.append(("DVC", "not tracked: run `dvc add " + entry.cells + "`"))
    else:
        by = f"{tracked.file}, stage {tracked.stage}" if tracked.stage else str(tracked.file)
        lines.append(("DVC", f"md5 {tracked.md5} ({by})"))
    if cells.exists():
        lines += [("size", _bytes(size_of(cells))), *_contents(cells, entry)]
    else:
        lines.append(("size", _missing(cells, tracked)))
    print_fields(lines)


def validate(file: Path, entry: Dataset, label: str) -> None:
    """Check cells as `sctransformer data check` does, with the columns of an entry.

    Args:
        file: the cells.
        entry: names of the columns.
        label: name of the file in errors.

    Raises:
        UserError: the cells do not pass.
    """
    from sctransformer.cli.data import check_cells

    try:
        check_cells(
            file,
            entry.label_column,
            entry.donor_column,
            entry.gene_column,
            entry.counts,
            entry.library_size_column,
            ontology_column=entry.ontology_column,
            ontology_ids=entry.ontology_ids,
        )
    except UserError as error:
        raise UserError(str(error).replace(str(file), label)) from error


def _ontology(source: str | None) -> dict[str, Any]:
    """The fields of an entry that `--ontology` sets: a column, or the content of a table."""
    if source is None or Path(source).suffix not in (".csv", ".tsv"):
        return {"ontology_column": source}
    from sctransformer.data.cell_ontology import read_ids

    return {"ontology_ids": read_ids(Path(source))}


def _contents(file: Path, entry: Dataset) -> Iterator[tuple[str, str]]:
    """Number of cells, genes and labels; counts are not read."""
    from sctransformer.data.cells import CellFile

    with CellFile(file, entry.counts) as cells:
        yield "contents", f"{cells.n_cells:,} cells x {len(cells.genes):,} genes"
        if entry.label_column not in cells.obs:
            yield "labels", f"obs has no column {entry.label_column!r}: correct label_column"
            return
        labels = cells.obs[entry.label_column].astype("string").str.strip().replace("", None)
        yield "labels", f"{labels.nunique()} types; {int(labels.isna().sum()):,} cells without a label"
        for label, number in labels.value_counts().items():
            yield f"  {label}", f"{number:,}"


def _missing(cells: Path, tracked: Tracked | None) -> str:
    if tracked is None:
        return f"missing, and not tracked by DVC: {cells}"
    return f"missing: dvc repro {tracked.stage}" if tracked.stage else f"missing: dvc pull {tracked.file}"


def _bytes(number: int) -> str:
    from rich.filesize import decimal

    return decimal(number)
