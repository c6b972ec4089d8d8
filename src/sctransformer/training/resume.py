"""Manifests of training runs: what a run was started with, whether it is running, and how to find it for resuming."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity
from sctransformer.training.checkpoint import Checkpoint, require_same_run
from sctransformer.training.run_folder import RunFolder, runs_in
from sctransformer.training.task import Task

RESUME_VARIABLE = "SCTRANSFORMER_RESUME"
"""Environment variable of the training stage: ID of the run to resume."""
NAME_VARIABLE = "SCTRANSFORMER_RUN_NAME"
"""Environment variable of the training stage: name of the run."""
OVERRIDES_VARIABLE = "SCTRANSFORMER_OVERRIDES"
"""Environment variable of the training stage: what differs from params.yaml in this run, as JSON."""
MANIFEST = "run.json"
"""File of the manifest in the folder of a run."""
_PREFIX = "train-"


def _this_process() -> dict[str, Any]:
    return ProcessIdentity.current().to_dict()


@dataclass(frozen=True)
class RunManifest:
    """What a run was started with."""

    run_id: str
    name: str
    params: dict[str, Any]
    """All of params.yaml."""
    lineage: dict[str, Any]
    """Lineage of the model that the run trains."""
    inputs: dict[str, str]
    """SHA-256 of each file that training reads."""
    dvc_lock: str | None = None
    """Content of dvc.lock, whose digest is in the lineage; None if the file did not exist."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Parameters that differed from params.yaml, by dotted name; they are in `params` too."""
    process: dict[str, Any] = field(default_factory=_this_process)
    """The process that trains it; see `ProcessIdentity`."""

    @property
    def is_running(self) -> bool:
        """Whether the process that trains this run is known to be running on this machine."""
        return ProcessIdentity.from_json(self.process).is_alive() is True

    def with_this_process(self) -> "RunManifest":
        """A copy that names this process as the one that trains."""
        return dataclasses.replace(self, process=_this_process())


def run_folder(storage: str | Path, run_id: str) -> RunFolder:
    """The folder of a run."""
    return RunFolder(storage, f"{_PREFIX}{run_id}")


def write_manifest(folder: RunFolder, manifest: RunManifest) -> None:
    """Write the manifest of a run into its folder."""
    folder.write_json(MANIFEST, dataclasses.asdict(manifest))


def stored_runs(storage: str | Path) -> list[tuple[RunFolder, RunManifest]]:
    """All runs with a folder in the storage."""
    found = []
    for name in runs_in(storage):
        content = RunFolder(storage, name).read_json(MANIFEST) if name.startswith(_PREFIX) else None
        if content is not None:
            found.append((RunFolder(storage, name), RunManifest(**content)))
    return found


def find_resumable_run(storage: str | Path, wanted: str) -> tuple[RunFolder, RunManifest]:
    """Find a run to resume.

    Args:
        storage: where runs have their folders.
        wanted: ID of the run, start of its ID, or its name.

    Raises:
        UserError: no run or several runs match, or the run is still running.
    """
    stored = stored_runs(storage)
    exact = [pair for pair in stored if wanted in (pair[1].run_id, pair[1].name)]
    found = exact or [pair for pair in stored if pair[1].run_id.startswith(wanted)]
    if len(found) != 1:
        names = ", ".join(f"{run.run_id[:8]} ({run.name})" for _, run in found or stored)
        problem = f"{len(found)} runs match" if found else "no run with checkpoints matches"
        raise UserError(f"run {wanted!r} cannot be resumed: {problem} in {storage}; choose one of: {names or 'none'}.")
    if found[0][1].is_running:
        raise UserError(f"run {wanted!r} cannot be resumed: process {found[0][1].process['pid']} is still training it.")
    return found[0]


def claim_checkpoint(folder: RunFolder, task: Task) -> tuple[str, Checkpoint] | None:
    """The checkpoint to resume from and the path of its folder, moved to an attempt of its own; None if there is none.

    Raises:
        UserError: it belongs to another run.
    """
    folder.prune_checkpoints()
    found = folder.claim_newest_checkpoint()
    if found is not None:
        require_same_run(found[1], task.make_model(task.files), task.config)
    return found


def remove_orphans(storage: str | Path, has_ended: Callable[[str], bool]) -> list[RunManifest]:
    """Remove the folders of runs that cannot be resumed: they have ended, or have no checkpoint.

    Args:
        storage: where runs have their folders.
        has_ended: whether the run with an ID has finished successfully or was deleted.

    Returns:
        Runs that can be resumed.
    """
    resumable = []
    for folder, run in stored_runs(storage):
        if run.is_running:
            continue
        if has_ended(run.run_id) or folder.newest_checkpoint() is None:
            folder.remove()
        else:
            resumable.append(run)
    return resumable
