"""Adding cells to the catalogue: check them, put them under DVC and write their entry, or change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sctransformer.data import versioned
from sctransformer.data.catalogue import CATALOGUE, RAW_FOLDER, Dataset, dataset, read_catalogue, write_entry
from sctransformer.errors import UserError
from sctransformer.progress import bytes_bar

Check = Callable[[Path, Dataset, str], None]
"""Checks a file of cells by the columns of an entry; the last argument is its name in errors. Raises a UserError."""


class Added(NamedTuple):
    """A dataset that was added."""

    entry: Dataset
    replaced: Dataset | None
    """The previous entry of the same name."""
    tracked: versioned.Tracked | None
    """Record of DVC."""
    files: list[Path]
    """Files to commit to git."""


class Location(NamedTuple):
    """A source of cells."""

    origin: str
    """The source in the form that DVC takes."""
    inside: Path | None
    """Path from the project folder; None if the source is outside the project."""


def add_dataset(name: str, source: str, fields: dict[str, Any], check: Check, force: bool = False) -> Added:
    """Add cells to the catalogue of the project in the current folder.

    A file inside the project stays in its place. A file from elsewhere is copied, and a URL is imported, to data/raw.
    On an error nothing is changed.

    Args:
        name: name of the dataset.
        source: an h5ad file or zarr folder, or its URL.
        fields: the other fields of `Dataset`, without cells and url.
        check: called with the cells before anything is changed.
        force: replace a dataset of the same name.

    Raises:
        UserError: the current folder is not a project, the name is taken, the source does not exist, the cells do not
            pass the check, or DVC refuses.
    """
    if not Path(".dvc").is_dir():
        raise UserError(".dvc: no such folder here; run the command in the project folder.")
    before = read_catalogue().get(name)
    if before is not None and not force:
        raise UserError(f"{CATALOGUE}: already has a dataset {name!r}; choose another name or use --force.")
    location = locate(source)
    inside = location.inside
    cells = inside if inside is not None else _destination(name, source, location.origin)
    known = versioned.find_tracked(cells) if inside is not None else None
    url = (known.origin if known else None) if inside is not None else (source if versioned.is_url(source) else None)
    entry = dataset(source="the options of `data add`", name=name, cells=cells.as_posix(), url=url, **fields)
    occupied = inside is None and (cells.exists() or Path(f"{cells}.dvc").exists())
    if occupied and (before is None or before.cells != entry.cells):
        raise UserError(
            f"{cells}: already exists and is not the file of dataset {name!r}; add it by its path, "
            f"`sctransformer data add {name} {cells} ...`, or choose another name."
        )
    with versioned.all_or_nothing(cells, versioned.dvc_files(cells)) as scratch:
        if inside is not None:
            check(cells, entry, str(cells))
            with bytes_bar("Adding to DVC") as on_wait:
                versioned.track(cells, on_wait)
        else:
            _bring(location.origin, source, cells, scratch, lambda file: check(file, entry, source))
        write_entry(entry)
    tracked, files = versioned.find_tracked(cells), [CATALOGUE]
    if tracked is not None and tracked.stage is None:
        files += [file for file in (tracked.file, tracked.file.with_name(".gitignore")) if file.is_file()]
    return Added(entry, before, tracked, files)


def locate(source: str) -> Location:
    """Resolve a path or URL.

    Raises:
        UserError: the path does not exist, or the URL contains a secret.
    """
    origin = versioned.checked_url(source) if versioned.is_url(source) else source
    if versioned.is_url(origin):
        return Location(origin, None)
    path = Path(origin).expanduser()
    if not path.exists():
        raise UserError(f"{source}: no such file or folder; a URL starts with its scheme, as in s3:// or https://.")
    project, path = Path.cwd().resolve(), path.resolve()
    return Location(str(path), path.relative_to(project) if path.is_relative_to(project) else None)


def _destination(name: str, source: str, origin: str) -> Path:
    path = urlsplit(source).path if versioned.is_url(source) else source
    is_zarr = path.rstrip("/").endswith(".zarr") or Path(origin).is_dir()
    return RAW_FOLDER / f"{name}.{'zarr' if is_zarr else 'h5ad'}"


def _bring(origin: str, source: str, cells: Path, scratch: Path, check: Callable[[Path], None]) -> None:
    """Fetch and check cells from outside the project, then move them to their place and add them to DVC."""
    fetched, is_url = scratch / cells.name, versioned.is_url(source)
    if not is_url:  # a local file is checked before it is copied
        check(Path(origin))
    with bytes_bar("Fetching", lambda: versioned.size_of(scratch)) as on_wait:
        versioned.fetch(origin, fetched, on_wait)
    if is_url:
        check(fetched)
    if cells.exists():
        cells.rename(scratch / "old")
    Path(f"{cells}.dvc").unlink(missing_ok=True)
    with bytes_bar("Adding to DVC") as on_wait:
        if is_url:
            with versioned.imported(origin, cells, on_wait):
                fetched.rename(cells)
        else:
            fetched.rename(cells)
            versioned.track(cells, on_wait)
