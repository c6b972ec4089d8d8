"""Runs that began and have not ended well: what they began with, whether they still train, how they are found."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity
from sctransformer.training.run_folder import RunFolder, runs_in

RESUME_VARIABLE = "SCTRANSFORMER_RESUME"
"""Tells the training stage the id of the run to go on with."""
NAME_VARIABLE = "SCTRANSFORMER_RUN_NAME"
"""Tells the training stage how its run is called."""
BEGINNING = "run.json"
"""File of a run's folder that says how it began."""
_PREFIX = "train-"


def _this_process() -> dict[str, Any]:
    return ProcessIdentity.current().to_dict()


@dataclass(frozen=True)
class RunManifest:
    """How a run began."""

    run_id: str
    name: str
    params: dict[str, Any]
    """All of params.yaml."""
    lineage: dict[str, Any]
    """Of the model to come."""
    inputs: dict[str, str]
    """SHA-256 of each file that training reads."""
    dvc_lock: str | None = None
    """Content of dvc.lock, whose digest stands in the lineage; None: there was no such file."""
    process: dict[str, Any] = field(default_factory=_this_process)
    """The process that trains it; see `ProcessIdentity`."""

    @property
    def trains_here(self) -> bool:
        """Whether the process that trains this run is known to be running on this machine."""
        return ProcessIdentity.from_json(self.process).is_alive() is True

    def taken_up(self) -> "RunManifest":
        """The same, with this process as the one that trains."""
        return dataclasses.replace(self, process=_this_process())


def folder_of(storage: str | Path, run_id: str) -> RunFolder:
    """Where a run keeps its checkpoints."""
    return RunFolder(storage, f"{_PREFIX}{run_id}")


def write_beginning(folder: RunFolder, beginning: RunManifest) -> None:
    """Keep how a run began."""
    folder.write(BEGINNING, dataclasses.asdict(beginning))


def begun_in(storage: str | Path) -> list[tuple[RunFolder, RunManifest]]:
    """Runs whose checkpoints are still kept."""
    found = []
    for name in runs_in(storage):
        content = RunFolder(storage, name).read(BEGINNING) if name.startswith(_PREFIX) else None
        if content is not None:
            found.append((RunFolder(storage, name), RunManifest(**content)))
    return found


def find_begun(storage: str | Path, wanted: str) -> tuple[RunFolder, RunManifest]:
    """The run with this id, beginning of an id, or name, to go on with.

    Raises:
        UserError: there is none, there are several, or it still trains.
    """
    there = begun_in(storage)
    exact = [pair for pair in there if wanted in (pair[1].run_id, pair[1].name)]
    found = exact or [pair for pair in there if pair[1].run_id.startswith(wanted)]
    if len(found) != 1:
        names = ", ".join(f"{run.run_id[:8]} ({run.name})" for _, run in found or there)
        problem = f"{len(found)} runs are called so" if found else "no checkpoints of such a run are kept"
        raise UserError(f"run {wanted!r} cannot be resumed: {problem} in {storage}; there are: {names or 'none'}.")
    if found[0][1].trains_here:
        raise UserError(f"run {wanted!r} cannot be resumed: process {found[0][1].process['pid']} still trains it.")
    return found[0]


def remove_orphans(storage: str | Path, has_ended: Callable[[str], bool]) -> list[RunManifest]:
    """Remove what no run will ask for: folders of runs that ended well or have no checkpoint to go on from.

    Args:
        storage: where runs keep their folders.
        has_ended: whether the run with an id ended well, or is no more.

    Returns:
        Runs that can be resumed.
    """
    resumable = []
    for folder, run in begun_in(storage):
        if run.trains_here:
            continue
        if has_ended(run.run_id) or folder.newest_checkpoint() is None:
            folder.remove()
        else:
            resumable.append(run)
    return resumable
