"""Atomic writes, digests, and reading JSON with clear errors."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from sctransformer.errors import OutputError, UserError


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Provide a temporary path beside `target`; rename it to `target` when the block succeeds.

    Works for files and folders, whichever the block creates. On an error the temporary path is removed and `target` is
    unchanged.

    Raises:
        UserError: the folder of `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UserError(f"{target.parent}: cannot be written ({error.strerror}); choose another folder.") from error
    temporary = holder / target.name
    try:
        yield temporary
        if temporary.is_dir() and target.exists():
            target.rename(holder / "replaced")  # a folder cannot be renamed onto a full one
        temporary.replace(target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_json(target: Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys, atomically."""
    with atomic_write(target) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file does not exist or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not valid JSON (line {error.lineno}: {error.msg}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not valid JSON (it is not UTF-8 text).") from error
    except RecursionError as error:
        raise UserError(f"{path}: is not valid JSON of ours (it is nested too deeply).") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, as hex.

    Raises:
        UserError: it is a pipe or a device, from which reading may never end.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not a regular file; copy its content into one.")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(content: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), as hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def inside(folder: Path, path: PurePath) -> Path:
    """A path in a folder, which must stay in it when links are followed.

    Raises:
        UserError: the path leads out of the folder; an OutputError if it cannot be resolved.
    """
    whole = folder / path
    try:
        leads_out = not whole.resolve().is_relative_to(folder.resolve())
    except OSError as error:  # the working folder was deleted, or links lead in a circle
        raise OutputError(f"{whole}: cannot be found ({error.strerror}); choose another folder.") from error
    if leads_out:
        raise UserError(f"{whole}: leads out of {folder}; remove the link, or choose another name.")
    return whole
