"""What a run keeps while it trains, on any storage that fsspec reaches: checkpoints, run manifest, error."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from sctransformer.errors import UserError, one_line
from sctransformer.files import atomic_write
from sctransformer.training.checkpoint import PROGRESS, Checkpoint, TrainingProgress, load_checkpoint, save_checkpoint

ATTEMPT = "attempt-"
"""Prefix of folders of checkpoints; each call of `fit_on_ray` or `fit_in_process` writes to its own."""


class RunFolder:
    """The folder of one run.

    Args:
        storage: folder, or URL that fsspec supports.
        name: name of the run, unique in `storage`.
    """

    def __init__(self, storage: str | Path, name: str) -> None:
        text = str(storage)
        base = text.rstrip("/") if "://" in text else str(Path(text).absolute())
        self.url = f"{base}/{name}"
        """URL of the folder; a plain path if it is local."""
        try:
            self._fs, self._path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(f"{text}: not a storage that fsspec supports ({error}); correct train.storage.") from error
        self.is_local = type(self._fs).__name__ == "LocalFileSystem"

    @property
    def filesystem(self) -> Any:
        """The fsspec file system of the folder."""
        return self._fs

    @property
    def path(self) -> str:
        """Path of the folder in `filesystem`."""
        return self._path

    def require_writable(self) -> None:
        """Check that files can be written.

        Raises:
            UserError: they cannot.
        """
        probe = f"{self._path}/.probe"
        try:
            self._fs.makedirs(self._path, exist_ok=True)
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:  # each storage raises its own errors
            why = one_line(error)
            raise UserError(f"{self.url}: cannot be written ({why}); correct train.storage.") from error

    def new_attempt(self) -> str:
        """Name of a new folder of checkpoints."""
        numbers = [int(Path(path).name.removeprefix(ATTEMPT)) for path in self._attempts()]
        return f"{ATTEMPT}{max(numbers, default=0) + 1}"

    def newest_checkpoint(self) -> tuple[str, Checkpoint] | None:
        """The checkpoint with the most progress and the path of its folder; invalid checkpoints are skipped."""
        tried: list[tuple[Any, str]] | None = None
        while (found := self._listed_checkpoints()) != tried:
            for _, folder in found:
                try:
                    return folder, self.read_checkpoint(folder)
                except UserError:
                    continue
            tried = found  # look again: workers of a killed process may have replaced them in the meantime
        return None

    def _listed_checkpoints(self) -> list[tuple[Any, str]]:
        """Position and folder of each checkpoint with readable progress, the newest first."""
        found = []
        for path in self._fs.glob(f"{self._path}/{ATTEMPT}*/*/{PROGRESS}"):
            try:
                progress = TrainingProgress(**json.loads(self._fs.cat_file(path))["progress"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found.append((progress.position, str(path).rsplit("/", maxsplit=1)[0]))
        return sorted(found, reverse=True)

    def claim_newest_checkpoint(self) -> tuple[str, Checkpoint] | None:
        """Move the newest checkpoint to an attempt of its own and return it as `newest_checkpoint` does.

        The workers of a killed process run on for a moment and replace the checkpoints of their attempt.
        """
        while (found := self.newest_checkpoint()) is not None:
            target = f"{self._path}/{self.new_attempt()}/{Path(found[0]).name}"
            self._fs.makedirs(target.rsplit("/", maxsplit=1)[0], exist_ok=True)
            try:
                self._fs.mv(found[0], target, recursive=True)
            except FileNotFoundError:
                continue  # it was replaced by a newer one
            return target, found[1]
        return None

    def read_checkpoint(self, folder: str) -> Checkpoint:
        """Read the checkpoint of a folder in `filesystem`.

        Raises:
            UserError: it is incomplete or changed.
        """
        if self.is_local:
            return load_checkpoint(Path(folder))
        with tempfile.TemporaryDirectory() as local:
            self._fs.get(folder.rstrip("/") + "/", f"{local}/", recursive=True)
            return load_checkpoint(Path(local))

    def replace_checkpoint(self, attempt: str, checkpoint: Checkpoint, previous: str | None) -> str:
        """Write a checkpoint, and remove the previous one afterwards.

        Local folders are written atomically; elsewhere an incomplete checkpoint is recognised by its checksums.

        Args:
            attempt: name of its folder of checkpoints.
            checkpoint: the checkpoint.
            previous: path of the folder of the previous checkpoint, if there is one.

        Returns:
            Path of the folder of the checkpoint.
        """
        target = f"{self._path}/{attempt}/checkpoint_{datetime.now():%Y-%m-%d_%H-%M-%S.%f}"  # named as Ray names them
        if self.is_local:
            with atomic_write(Path(target)) as temporary:
                temporary.mkdir()
                save_checkpoint(checkpoint, temporary)
        else:
            with tempfile.TemporaryDirectory() as local:
                save_checkpoint(checkpoint, Path(local))
                self._fs.makedirs(target, exist_ok=True)
                self._fs.put(f"{local}/", f"{target}/", recursive=True)
        if previous is not None:
            self._fs.rm(previous, recursive=True)
        return target

    def prune_checkpoints(self) -> str | None:
        """Remove all checkpoints but the newest valid one.

        Returns:
            Path of the remaining checkpoint.
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

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        self._fs.makedirs(self._path, exist_ok=True)
        self._fs.pipe_file(f"{self._path}/{name}", json.dumps(content).encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder; None if it does not exist."""
        try:
            return json.loads(self._fs.cat_file(f"{self._path}/{name}"))
        except FileNotFoundError:
            return None

    def upload_inputs(self, files: Mapping[str, Path]) -> None:
        """Copy files into the folder, for processes on other machines."""
        for name, path in files.items():
            target = f"{self._path}/{_input_name(name, path)}"
            self._fs.makedirs(target.rsplit("/", maxsplit=1)[0], exist_ok=True)
            self._fs.put_file(str(path), target)

    def fetch_inputs(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Local paths of uploaded files: in the folder if it is local, else downloaded once per machine."""
        return {name: self._local_copy(_input_name(name, path)) for name, path in files.items()}

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
        """Remove a file of the folder, if it exists."""
        if self._fs.exists(f"{self._path}/{name}"):
            self._fs.rm_file(f"{self._path}/{name}")

    def remove(self) -> None:
        """Remove the folder and its content."""
        if self._fs.exists(self._path):
            self._fs.rm(self._path, recursive=True)

    def _attempts(self) -> list[str]:
        return [str(path) for path in self._fs.glob(f"{self._path}/{ATTEMPT}*")]


def _input_name(name: str, path: Path) -> str:
    return f"inputs/{name}{path.suffix}"


def runs_in(storage: str | Path) -> list[str]:
    """Names of the runs with a folder in a storage."""
    parent = RunFolder(storage, "")
    if not parent.filesystem.exists(parent.path):
        return []
    entries = parent.filesystem.ls(parent.path, detail=True)
    return sorted(Path(entry["name"].rstrip("/")).name for entry in entries if entry["type"] == "directory")
