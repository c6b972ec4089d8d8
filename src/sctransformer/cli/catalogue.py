"""`sctransformer data add`, `data list`, `data show`: the datasets in data/catalogue.yaml, their cells under DVC."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.errors import UserError

if TYPE_CHECKING:
    from sctransformer.data.catalogue import Dataset
    from sctransformer.data.versioned import Tracked


def add(
    name: Annotated[str, typer.Argument(help="What to call the dataset: lower case letters, digits, _ and -.")],
    source: Annotated[str, typer.Argument(help="An h5ad file or zarr folder, or its URL (s3://, https://, gs://).")],
    label_column: Annotated[str, typer.Option(help="Column of obs with the cell type.", show_default=False)],
    donor_column: Annotated[str | None, typer.Option(help="Column of obs with the donor.")] = None,
    gene_column: Annotated[
        str | None, typer.Option(help="Column of var with gene ids.", show_default="recognised")
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="Where raw counts stand: X, raw.X or a layer's name.", show_default="found")
    ] = None,
    library_size_column: Annotated[
        str | None, typer.Option(help="Column of obs with the counts of the whole cell.", show_default="their sum")
    ] = None,
    organism: Annotated[str, typer.Option(help="Only human at present.")] = "human",
    license_: Annotated[str | None, typer.Option("--license", help="Under what terms the cells may be used.")] = None,
    citation: Annotated[str | None, typer.Option(help="Whom to cite.")] = None,
    description: Annotated[str | None, typer.Option(help="What these cells are.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of that name.")] = False,
) -> None:
    """Check cells, put them under DVC and write them into data/catalogue.yaml; or, if anything fails, do nothing.

    A file inside the project stays where it is; from elsewhere it is copied, and from a URL imported, to data/raw.
    """
    from sctransformer.data import versioned
    from sctransformer.data.catalogue import CATALOGUE, dataset, read_catalogue, write_entry

    if not Path(".dvc").is_dir():
        raise UserError(".dvc: no such folder here; run from the project's folder.")
    before = read_catalogue().get(name)
    if before is not None and not force:
        raise UserError(f"{CATALOGUE}: has a dataset {name!r} already; choose another name, or replace it by --force.")
    origin, inside = _located(source)
    cells = inside if inside is not None else _destination(name, source, origin)
    known = versioned.find_tracked(cells) if inside is not None else None
    entry = dataset(
        source="the options of `data add`",
        name=name,
        cells=cells.as_posix(),
        url=(known.origin if known else None) if inside is not None else (source if versioned.is_url(source) else None),
        label_column=label_column,
        donor_column=donor_column,
        gene_column=gene_column,
        counts=counts,
        library_size_column=library_size_column,
        organism=organism,
        license=license_,
        citation=citation,
        description=description,
    )
    taken = inside is None and (cells.exists() or Path(f"{cells}.dvc").exists())
    if taken and (before is None or before.cells != entry.cells):
        raise UserError(
            f"{cells}: is there already, without being dataset {name!r}; add it by its path, "
            f"`sctransformer data add {name} {cells} ...`, or choose another name."
        )
    with versioned.all_or_nothing(cells, versioned.dvc_files(cells)) as scratch:
        if inside is not None:
            validate(cells, entry, called=str(cells))
            with _bytes_bar("Adding to DVC") as on_wait:
                versioned.track(cells, on_wait)
        else:
            _bring(origin, source, cells, scratch, entry)
        write_entry(entry)
    typer.echo(f"\nadded {name}: {cells} ({_bytes(versioned.size_of(cells))})")
    if before is not None and before.cells != entry.cells and Path(f"{before.cells}.dvc").is_file():
        typer.echo(f"no longer in the catalogue: {before.cells}; `dvc remove {before.cells}.dvc` lets it go")
    tracked, files = versioned.find_tracked(cells), [CATALOGUE]
    if tracked is not None and tracked.stage is None:
        files += [file for file in (tracked.file, tracked.file.with_name(".gitignore")) if file.is_file()]
        typer.echo("share it: dvc push")
    typer.echo(f"keep it:  git add {shlex.join(map(str, files))} && git commit -m 'Dataset {name}'")
    typer.echo(f"use it:   sctransformer train -S data={name}")


def list_datasets() -> None:
    """Show the datasets of data/catalogue.yaml, and whether their cells are here."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sctransformer.data.catalogue import CATALOGUE, read_catalogue
    from sctransformer.data.versioned import find_tracked, size_of

    datasets = read_catalogue()
    if not datasets:
        typer.echo(f"{CATALOGUE}: no dataset yet; `sctransformer data add` adds one.")
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
            entry.cells if cells.exists() else _not_here(cells, tracked),
            "-" if size is None else _bytes(size),
            entry.label_column,
            entry.license or "-",
        )
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)


def show(name: Annotated[str, typer.Argument(help="Name of the dataset.")]) -> None:
    """Show all that is known of a dataset: its entry, its DVC hash and, if its cells are here, what is in them."""
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
        lines.append(("size", _not_here(cells, tracked)))
    width = max(len(field) for field, _ in lines)
    typer.echo("\n".join(f"{field:<{width}}  {value}" for field, value in lines))


def validate(file: Path, entry: Dataset, called: str) -> None:
    """Check cells as `sctransformer data check` does, by the columns of an entry.

    Args:
        file: the cells.
        entry: which columns to read.
        called: what to call the file in errors.

    Raises:
        UserError: the cells would not pass.
    """
    from sctransformer.cli.data import look

    try:
        look(
            file,
            entry.label_column,
            entry.donor_column,
            entry.gene_column,
            entry.counts,
            entry.library_size_column,
        )
    except UserError as error:
        raise UserError(str(error).replace(str(file), called)) from error


def _contents(file: Path, entry: Dataset) -> Iterator[tuple[str, str]]:
    """What obs and var say; counts are not read."""
    from sctransformer.data.cells import CellFile

    with CellFile(file, entry.counts) as cells:
        yield "contents", f"{cells.n_cells:,} cells x {len(cells.genes):,} genes"
        if entry.label_column not in cells.obs:
            yield "labels", f"obs has no column {entry.label_column!r}: correct label_column"
            return
        labels = cells.obs[entry.label_column].astype("string").str.strip().replace("", None)
        yield "labels", f"{labels.nunique()} types; {int(labels.isna().sum()):,} cells without"
        for label, number in labels.value_counts().items():
            yield f"  {label}", f"{number:,}"


def _located(source: str) -> tuple[str, Path | None]:
    """Where DVC finds a source; and its path from the project's folder if it lies inside."""
    from sctransformer.data.versioned import checked_url, is_url

    origin = checked_url(source) if is_url(source) else source
    if is_url(origin):
        return origin, None
    path = Path(origin).expanduser()
    if not path.exists():
        raise UserError(f"{source}: no such file or folder; a URL begins with its scheme, as in s3:// or https://.")
    project, path = Path.cwd().resolve(), path.resolve()
    return str(path), path.relative_to(project) if path.is_relative_to(project) else None


def _destination(name: str, source: str, origin: str) -> Path:
    from urllib.parse import urlsplit

    from sctransformer.data.catalogue import RAW_FOLDER
    from sctransformer.data.versioned import is_url

    path = urlsplit(source).path if is_url(source) else source
    is_zarr = path.rstrip("/").endswith(".zarr") or Path(origin).is_dir()
    return RAW_FOLDER / f"{name}.{'zarr' if is_zarr else 'h5ad'}"


def _bring(origin: str, source: str, cells: Path, scratch: Path, entry: Dataset) -> None:
    """Fetch cells from outside, check them, and only then put them in their place and under DVC."""
    from sctransformer.data import versioned

    fetched = scratch / cells.name
    if not versioned.is_url(source):  # a local file need not be copied to be found wanting
        validate(Path(origin), entry, called=source)
    with _bytes_bar("Fetching", scratch) as on_wait:
        versioned.fetch(origin, fetched, on_wait)
    if versioned.is_url(source):
        validate(fetched, entry, called=source)
    if cells.exists():
        cells.rename(scratch / "old")
    Path(f"{cells}.dvc").unlink(missing_ok=True)
    with _bytes_bar("Adding to DVC") as on_wait:
        if versioned.is_url(source):
            with versioned.imported(origin, cells, on_wait):
                fetched.rename(cells)
        else:
            fetched.rename(cells)
            versioned.track(cells, on_wait)


def _not_here(cells: Path, tracked: Tracked | None) -> str:
    if tracked is None:
        return f"not here, and not tracked by DVC: {cells}"
    return f"not here: dvc repro {tracked.stage}" if tracked.stage else f"not here: dvc pull {tracked.file}"


def _bytes(number: int) -> str:
    from rich.filesize import decimal

    return decimal(number)


@contextlib.contextmanager
def _bytes_bar(what: str, folder: Path | None = None) -> Iterator[Callable[[], None]]:
    """Show that work goes on, and how much has come into a folder; on standard error and only on a terminal."""
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    from sctransformer.data.versioned import size_of

    sizes = () if folder is None else (DownloadColumn(), TransferSpeedColumn())
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *sizes, TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.update(task, completed=0 if folder is None else size_of(folder))
