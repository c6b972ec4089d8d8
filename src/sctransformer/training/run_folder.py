"""What a run keeps while it trains, on any storage that fsspec reaches: checkpoints, how it began, why it failed."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from sctransformer.errors import UserError, one_line
from sctransformer.files import atomic_write
from sctransformer.training.checkpoint import PROGRESS, Checkpoint, Progress, load_checkpoint

ATTEMPT = "attempt-"
"""What the name of a folder begins with that one call of the trainer writes its checkpoints to."""


class RunFolder:
    """The folder of one run.

    Args:
        storage: a folder or the URL of one, as fsspec takes it.
        name: of the run, unique in `storage`.
    """

    def __init__(self, storage: str | Path, name: str) -> None:
        text = str(storage)
        base = text.rstrip("/") if "://" in text else str(Path(text).absolute())
        self.url = f"{base}/{name}"
        """Of the folder; a path without `file://` where it is local."""
        try:
            self._fs, self._path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(f"{text}: no storage that fsspec knows ({error}); correct train.storage.") from error
        self.is_local = type(self._fs).__name__ == "LocalFileSystem"

    @property
    def filesystem(self) -> Any:
        """The fsspec file system that holds it."""
        return self._fs

    @property
    def path(self) -> str:
        """Of the folder in `filesystem`."""
        return self._path

    def require_writable(self) -> None:
        """Write a small file and remove it.

        Raises:
            UserError: that cannot be done.
        """
        probe = f"{self._path}/.probe"
        try:
            self._fs.makedirs(self._path, exist_ok=True)
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:  # each storage raises its own
            why = one_line(error)
            raise UserError(f"{self.url}: cannot be written ({why}); correct train.storage.") from error

    def new_attempt(self) -> str:
        """The name of a folder that is not there yet."""
        numbers = [int(Path(path).name.removeprefix(ATTEMPT)) for path in self._attempts()]
        return f"{ATTEMPT}{max(numbers, default=0) + 1}"

    def newest_checkpoint(self) -> tuple[str, Checkpoint] | None:
        """The checkpoint that came furthest, with the path of its folder; those that are cut are passed over."""
        found = []
        for path in self._fs.glob(f"{self._path}/{ATTEMPT}*/*/{PROGRESS}"):
            try:
                progress = Progress(**json.loads(self._fs.cat_file(path))["progress"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found.append((progress.position, str(path)))
        for _, path in sorted(found, reverse=True):
            folder = path.rsplit("/", maxsplit=1)[0]
            try:
                return folder, self.read_checkpoint(folder)
            except UserError:
                continue
        return None

    def take_newest(self) -> tuple[str, Checkpoint] | None:
        """As `newest_checkpoint`, which moves to an attempt of its own.

        Workers of a trainer that was killed live on for a moment, and remove checkpoints of its attempt for newer ones.
        """
        while (found := self.newest_checkpoint()) is not None:
            target = f"{self._path}/{self.new_attempt()}/{Path(found[0]).name}"
            self._fs.makedirs(target.rsplit("/", maxsplit=1)[0], exist_ok=True)
            try:
                self._fs.mv(found[0], target, recursive=True)
            except FileNotFoundError:
                continue  # a newer one is there
            return target, found[1]
        return None

    def read_checkpoint(self, folder: str) -> Checkpoint:
        """Read the checkpoint of a folder in `filesystem`.

        Raises:
            UserError: it is not whole.
        """
        if self.is_local:
            return load_checkpoint(Path(folder))
        with tempfile.TemporaryDirectory() as local:
            self._fs.get(folder.rstrip("/") + "/", f"{local}/", recursive=True)
            return load_checkpoint(Path(local))

    def clean(self) -> str | None:
        """Remove every checkpoint but the one that came furthest, those that were not written whole among them.

        Returns:
            The path of the one that stays.
        """
        newest = self.newest_checkpoint()
        kept = None if newest is None else newest[0].rstrip("/")
        for attempt in self._attempts():
            if kept is None or not kept.startswith(attempt.rstrip("/") + "/"):
                self._fs.rm(attempt, recursive=True)
                continue
            for entry in self._fs.ls(attempt, detail=True):
                if entry["type"] == "directory" and entry["name"].rstrip("/") != kept:
                    self._fs.rm(entry["name"], recursive=True)
        return kept

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        self._fs.makedirs(self._path, exist_ok=True)
        self._fs.pipe_file(f"{self._path}/{name}", json.dumps(content).encode())

    def read(self, name: str) -> Any:
        """Read a JSON file of the folder; None if there is none."""
        try:
            return json.loads(self._fs.cat_file(f"{self._path}/{name}"))
        except FileNotFoundError:
            return None

    def share(self, files: Mapping[str, Path]) -> None:
        """Copy files into the folder, for processes on other machines."""
        for name, path in files.items():
            target = f"{self._path}/{_shared(name, path)}"
            self._fs.makedirs(target.rsplit("/", maxsplit=1)[0], exist_ok=True)
            self._fs.put_file(str(path), target)

    def shared(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """The same files on this machine: in the folder where the storage is a path, else fetched once a machine."""
        return {name: self._local_copy(_shared(name, path)) for name, path in files.items()}

    def _local_copy(self, name: str) -> Path:
        if self.is_local:
            return Path(self._path) / name
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        target = Path(tempfile.gettempdir()) / f"sctransformer-{digest}" / name
        if not target.exists():
            with atomic_write(target) as temporary:
                self._fs.get_file(f"{self._path}/{name}", str(temporary))
        return target

    def remove_file(self, name: str) -> None:
        """Remove a file of the folder, if it is there."""
        if self._fs.exists(f"{self._path}/{name}"):
            self._fs.rm_file(f"{self._path}/{name}")

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self._fs.exists(self._path):
            self._fs.rm(self._path, recursive=True)

    def _attempts(self) -> list[str]:
        return [str(path) for path in self._fs.glob(f"{self._path}/{ATTEMPT}*")]


def _shared(name: str, path: Path) -> str:
    return f"inputs/{name}{path.suffix}"


def runs_in(storage: str | Path) -> list[str]:
    """Names of the runs that keep a folder in a storage."""
    parent = RunFolder(storage, "")
    if not parent.filesystem.exists(parent.path):
        return []
    entries = parent.filesystem.ls(parent.path, detail=True)
    return sorted(Path(entry["name"].rstrip("/")).name for entry in entries if entry["type"] == "directory")
