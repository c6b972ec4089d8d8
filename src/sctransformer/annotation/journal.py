"""The journal of an output: which input it was made from, work in progress, and a lock."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sctransformer.errors import BusyError, OutputError, UserError
from sctransformer.files import sha256_file, write_json
from sctransformer.locks import LEASE, lock_stream

FETCHED = "fetched"
"""Folder for the copy of a remote input while it is read."""
_LOCK = "lock"
_ATTEMPTS = 10
"""Attempts to make the journal's folder, which other processes remove when they are done."""
FOLDER = ".sctransformer"
"""Folder of the journals, in the folder of the outputs."""


class Journal:
    """The journal of one output file. Hold `locked` while changing it or the output.

    `<folder>/.sctransformer/<output name>/` has `done.json` (the key, checksum and summary of the output), `input.json`
    (checksum of the input as it was last read), `lock`, and, while work is in progress, a folder named by the key with
    shards and an incomplete output.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.parent / FOLDER / target.name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the output for this process; the lock ends with the process, even if it is killed.

        Raises:
            BusyError: another process holds the lock.
            OutputError: the folder cannot be written.
        """
        for attempt in itertools.count(1):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stream = (self.folder / _LOCK).open("a+")
            except OSError as error:
                removed = isinstance(error, FileNotFoundError) and self.target.parent.exists()
                if removed and attempt < _ATTEMPTS:  # by the process that held the lock
                    continue
                raise OutputError(
                    f"{self.target.parent}: cannot be written ({error.strerror}); choose another folder."
                ) from error
            with stream, ExitStack() as stack:
                try:
                    stack.enter_context(lock_stream(stream, self.folder / LEASE, wait=False))
                except BlockingIOError as error:
                    stream.seek(0)
                    holder = stream.read().strip() or "another process"
                    raise BusyError(f"{self.target}: {holder} is writing it now; nothing was done.") from error
                except FileNotFoundError:  # the folder was removed, and the lock file with it
                    continue
                except OSError as error:
                    raise OutputError(
                        f"{self.folder / _LOCK}: cannot be locked ({error.strerror}); choose another folder."
                    ) from error
                if not self._is_current(stream.fileno()):
                    continue
                stream.truncate(0)
                stream.write(f"process {os.getpid()}")
                stream.flush()
                yield
                return

    def _is_current(self, descriptor: int) -> bool:
        """Whether the lock file of this process still exists: another process may have removed it."""
        try:
            return os.fstat(descriptor).st_ino == (self.folder / _LOCK).stat().st_ino
        except FileNotFoundError:
            return False

    def finished(self, key: str) -> dict[str, Any] | None:
        """The summary of the output, if it has this key and is as it was written; else None."""
        done = _read(self.folder / "done.json")
        if done.get("key") != key or not self.target.exists():
            return None
        if done.get("state") == state_of(self.target) or done.get("sha256") == digest_of(self.target):
            summary: dict[str, Any] = done["figures"]
            return summary
        return None

    def finish(self, key: str, temporary: Path, summary: dict[str, Any]) -> None:
        """Move the output into place, write `done.json`, and remove the work folder.

        Raises:
            OutputError: the output cannot be moved there.
        """
        digest = digest_of(temporary)
        try:
            for _, file in _files(temporary):
                _sync(file)
            if temporary.is_dir() and self.target.exists():
                self.target.rename(temporary.with_name("replaced"))  # a folder cannot be renamed onto a full one
            temporary.replace(self.target)
            _sync(self.target.parent)
            content = {"key": key, "sha256": digest, "state": state_of(self.target), "figures": summary}
            write_json(self.folder / "done.json", content)
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be written ({error.strerror}).") from error
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def work_folder(self, key: str) -> Path:
        """The folder for work on this key; work on other keys is removed."""
        for path in self.folder.iterdir() if self.folder.is_dir() else []:
            if path.is_dir() and path.name not in (key, FETCHED):
                shutil.rmtree(path, ignore_errors=True)
        return self.folder / key

    def discard(self) -> None:
        """Remove work that cannot become an output, and the journal itself if there is no output."""
        for path in self.folder.iterdir() if self.folder.is_dir() else []:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        if self.folder.is_dir() and not (self.folder / "done.json").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # it has the journals of other outputs
                self.folder.parent.rmdir()

    def known_digest(self, source: str, state: str) -> str | None:
        """SHA-256 of the input from an earlier run; None if the input may have changed since.

        Args:
            source: path or URL.
            state: see `Source.state`.
        """
        known = _read(self.folder / "input.json")
        return str(known["sha256"]) if (known.get("source"), known.get("state")) == (source, state) else None

    def keep_digest(self, source: str, state: str, sha256: str) -> None:
        """Keep the checksum of an input for the next run."""
        write_json(self.folder / "input.json", {"source": source, "state": state, "sha256": sha256})


def state_of(path: Path) -> str:
    """Inode, size and time of a file, or of every file of a folder; changed content has another state.

    Raises:
        UserError: there is no such file.
    """
    try:
        lines = [
            f"{name} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
            for name, stat in ((name, file.stat()) for name, file in _files(path))
        ]
    except OSError as error:
        raise UserError(f"{path}: no such file.") from error
    return lines[0] if path.is_file() else hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of all files of a folder.

    Raises:
        UserError: it does not exist or cannot be read.
    """
    try:
        if path.is_file():
            return sha256_file(path)
        lines = [f"{sha256_file(file)}  {name}\n" for name, file in _files(path)]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for _, file in _files(path))


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(path: Path) -> list[tuple[str, Path]]:
    if not path.is_dir():
        path.stat()
        return [("", path)]
    return sorted((str(file.relative_to(path)), file) for file in path.rglob("*") if file.is_file())


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file is missing or damaged: all files of the journal can be written again."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
