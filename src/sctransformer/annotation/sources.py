"""Sources of cells: a file, a folder of files, a pattern or a URL; remote files are copied to this machine."""

import glob
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Protocol, TypeVar

from sctransformer.annotation.journal import state_of
from sctransformer.annotation.settings import Format, output_path
from sctransformer.data.other_formats import other_files
from sctransformer.data.versioned import is_url
from sctransformer.errors import OutputError, UserError, one_line

T = TypeVar("T")
SUFFIXES = (".h5ad", ".zarr")
ANNOTATED = "_annotated"
"""Suffix of an output's stem; outputs in a folder are not treated as inputs."""
_NO_FOLDER = PurePath()
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5


class Source(Protocol):
    """One file (or zarr folder) of cells."""

    @property
    def name(self) -> str:
        """Name of the file, without its folder."""

    @property
    def below(self) -> PurePath:
        """Its folder, relative to the part of the pattern before the first wildcard; the output keeps it."""

    def state(self) -> str:
        """A text that changes whenever the content does; cheap.

        Raises:
            UserError: there is no such file.
        """

    def fetched(self, folder: Path) -> Any:
        """A context that gives the path of the file on this machine.

        Args:
            folder: receives a copy, where one is needed.
        """


@dataclass(frozen=True)
class LocalSource:
    """A file on this machine; read in place."""

    path: Path
    below: PurePath = _NO_FOLDER

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """See `Source`."""
        return self.path.name

    def state(self) -> str:
        """See `Source`."""
        if self.path.is_dir() and not _is_zarr(self.path):
            wanted = f"expected an h5ad file or a zarr folder{_hint(self.path)}"
            raise UserError(f"{self.path}: is a folder, but not a zarr group; {wanted}.")
        return state_of(self.path)

    @contextmanager
    def fetched(self, folder: Path) -> Iterator[Path]:
        """See `Source`."""
        yield self.path


@dataclass(frozen=True)
class RemoteSource:
    """A file behind a URL that fsspec supports; copied to this machine while it is read."""

    url: str
    below: PurePath = _NO_FOLDER

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """See `Source`."""
        return PurePosixPath(self.url.rstrip("/")).name

    def state(self) -> str:
        """See `Source`."""
        system, path = _file_system(self.url)

        def ask() -> str:
            system.invalidate_cache()
            if system.isdir(path):
                found = system.find(path, detail=True)
                return " ".join(sorted(f"{name} {_version(info)}" for name, info in found.items()))
            return _version(system.info(path))

        return _patiently(self.url, ask)

    @contextmanager
    def fetched(self, folder: Path) -> Iterator[Path]:
        """See `Source`.

        Raises:
            UserError: it cannot be read, or was changed while it was read.
            OutputError: there is no room for the copy.
        """
        system, path = _file_system(self.url)
        target = folder / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def get() -> None:
            _remove(target)
            if system.isdir(path):
                system.get(path.rstrip("/") + "/", str(target) + "/", recursive=True)
            else:
                system.get_file(path, str(target))

        before = self.state()
        try:
            _patiently(self.url, get)
            if self.state() != before:
                raise UserError(f"{self.url}: was changed while it was read; run again.")
            yield target
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def source_output(source: Source, outdir: Path, output_format: Format = "anndata") -> Path:
    """Path of the annotation of a source."""
    return output_path(source.name, outdir / source.below, output_format)


def find_sources(where: str, outdir: Path, may_be_none: bool = False) -> list[Source]:
    """The files that a path, a folder, a pattern or a URL names, sorted by name.

    In a folder, files that end in .h5ad or .zarr are found; a pattern finds whatever it matches. Hidden files and files
    in hidden folders are left out, and so are outputs in `outdir` or below it.

    Args:
        where: the path, folder, pattern or URL.
        outdir: folder of the outputs.
        may_be_none: whether a folder may have no files yet.

    Raises:
        UserError: no file was found, or the pattern has `..` after a wildcard.
    """
    if is_url(where):
        found = _find_remote(where)
    else:
        path = Path(where).expanduser()
        if path.is_dir() and not _is_zarr(path):
            local = [LocalSource(child) for child in path.iterdir() if child.suffix in SUFFIXES]
        elif path.exists() or not glob.has_magic(where):
            return [LocalSource(path)]
        else:
            local = _find_local(path)
        found = [source for source in local if not _is_output(source.path, outdir)]
    shown = (source for source in found if not any(part.startswith(".") for part in (*source.below.parts, source.name)))
    found = sorted(dict.fromkeys(shown), key=str)
    if not found and not may_be_none:
        hint = "" if is_url(where) else _hint(Path(where).expanduser())
        raise UserError(f"{where}: has no file that ends in .h5ad or .zarr{hint}.")
    return found


def _find_local(pattern: Path) -> list[LocalSource]:
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    if ".." in pattern.relative_to(fixed).parts:
        raise UserError(f"{pattern}: has '..' after a wildcard; name the folder before the wildcard instead.")
    matches = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 (takes absolute ones)
    return [LocalSource(match, match.relative_to(fixed).parent) for match in matches]


def _find_remote(url: str) -> list[Source]:
    system, path = _file_system(url)
    fixed = "/".join(takewhile(lambda part: not glob.has_magic(part), path.split("/")))

    def find() -> list[str]:
        if glob.has_magic(path):
            return [str(name) for name in system.glob(path)]
        if not path.rstrip("/").endswith(SUFFIXES) and system.isdir(path):
            names = [str(name).rstrip("/") for name in system.ls(path, detail=False)]
            return [name for name in names if name.endswith(SUFFIXES)]
        return [path]

    def below(name: str) -> PurePath:
        return PurePath(name.removeprefix(fixed).strip("/")).parent if glob.has_magic(path) else _NO_FOLDER

    return [RemoteSource(str(system.unstrip_protocol(name)), below(name)) for name in _patiently(url, find)]


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: cannot be opened ({error}).") from error
    return system, str(path)


def _patiently(url: str, act: Callable[[], T]) -> T:
    """Try several times: network failures may be temporary.

    A library for retries is not worth a dependency here: most of these lines are the messages.
    """
    wait = _FIRST_WAIT_SECONDS
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return act()
        except FileNotFoundError as error:
            raise UserError(f"{url}: no such file.") from error
        except PermissionError as error:
            raise UserError(f"{url}: access denied ({one_line(error)}); set credentials in the environment.") from error
        except Exception as error:  # file systems of fsspec raise whatever their clients do
            if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
                raise OutputError(f"{url}: there is no room for a copy of it; make room and run again.") from error
            if "Credential" in type(error).__name__:  # as botocore's NoCredentialsError and Google's
                raise UserError(
                    f"{url}: credentials for it are missing ({one_line(error)}); set them in the environment, for s3 "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
                ) from error
            if attempt == _ATTEMPTS:
                raise UserError(
                    f"{url}: cannot be read after {_ATTEMPTS} attempts ({one_line(error)}); run again later."
                ) from error
        time.sleep(wait)
        wait *= 2
    raise AssertionError


def _version(info: dict[str, Any]) -> str:
    """What a store reports about an object: an ETag, a time, at least its size."""
    reported = [
        info.get(name) for name in ("ETag", "etag", "VersionId", "LastModified", "mtime", "last_commit", "size")
    ]
    return " ".join(str(value) for value in reported if value is not None)


def _hint(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    if any(folder.glob("*matrix.mtx*")):
        return "; convert a 10x folder with `scanpy.read_10x_mtx(folder).write_h5ad(file)`"
    found = other_files(folder)
    return f"; {found}" if found else ""


def _is_zarr(folder: Path) -> bool:
    return folder.suffix == ".zarr" or any((folder / name).exists() for name in ("zarr.json", ".zgroup"))


def _is_output(path: Path, outdir: Path) -> bool:
    is_named_so = path.stem.endswith(ANNOTATED) and outdir.exists()
    return is_named_so and path.parent.resolve().is_relative_to(outdir.resolve())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
