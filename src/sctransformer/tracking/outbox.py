"""Figures on their way to MLflow: what cannot be sent now is kept in a file, and sent in order when it can be."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sctransformer.errors import UserError
from sctransformer.layout import UNSENT
from sctransformer.tracking import runs

RETRY_SECONDS = 30.0
"""After a failure so long nothing is tried, for a server that is down costs seconds each time."""

_not_before: dict[str, float] = {}


def log_epoch(run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
    """As `runs.log_epoch`; never fails."""
    _deliver(run_id, "epoch", epoch=epoch, metrics=dict(metrics), at=runs.milliseconds())


def log_metrics(run_id: str, metrics: Mapping[str, float]) -> None:
    """As `runs.log_metrics`; never fails."""
    _deliver(run_id, "metrics", metrics=dict(metrics), at=runs.milliseconds())


def log_artifact(run_id: str, path: Path, folder: str | None = None) -> None:
    """As `runs.log_artifact`; never fails because of the store. What cannot be sent now is copied.

    Raises:
        UserError: there is no such file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, so it cannot be kept with run {run_id}.")
    _deliver(run_id, "artifact", path=str(path), folder=folder)


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """As `runs.set_tags`; never fails."""
    _deliver(run_id, "tags", tags=dict(tags))


def finish_run(run_id: str, status: runs.Status) -> None:
    """As `runs.finish_run`; never fails."""
    _deliver(run_id, "finish", status=status, at=runs.milliseconds())


def unsent(run_id: str) -> int:
    """How many calls for a run are kept."""
    file = _file(run_id)
    return len(file.read_text().splitlines()) if file.exists() else 0


def send_kept(run_id: str) -> int:
    """Send what is kept for a run, in order, as far as that can be done now.

    Returns:
        How many calls are still kept.
    """
    file = _file(run_id)
    if not file.exists():
        return 0
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines):
        call = json.loads(line)
        try:
            _SEND[call.pop("call")](run_id, **call)
        except UserError:
            _rewrite(file, lines[number:])
            _not_before[run_id] = time.monotonic() + RETRY_SECONDS
            return len(lines) - number
    file.unlink()
    shutil.rmtree(_copies(run_id), ignore_errors=True)
    _not_before.pop(run_id, None)
    return 0


def send_all() -> dict[str, int]:
    """Send what is kept for all runs; how many calls are still kept, for those with any."""
    left = {file.stem: send_kept(file.stem) for file in sorted(UNSENT.glob("*.jsonl"))}
    return {run_id: number for run_id, number in left.items() if number}


def _deliver(run_id: str, call: str, **details: Any) -> None:
    """Send a call now, after what is kept; else keep it."""
    waiting = time.monotonic() < _not_before.get(run_id, 0.0)
    if not waiting and send_kept(run_id) == 0:
        try:
            _SEND[call](run_id, **details)
            return
        except UserError as error:
            _not_before[run_id] = time.monotonic() + RETRY_SECONDS
            print(
                f"Warning: {str(error).rstrip('.')}; figures of this run are kept in {_file(run_id)} and sent when the "
                "store can be reached, or by `sctransformer runs`.",
                file=sys.stderr,
            )
    if call == "artifact":
        details["path"] = str(_copied(run_id, Path(details["path"])))
    UNSENT.mkdir(parents=True, exist_ok=True)
    with _file(run_id).open("a") as stream:
        stream.write(json.dumps({"call": call, **details}) + "\n")


def _file(run_id: str) -> Path:
    return UNSENT / f"{run_id}.jsonl"


def _copies(run_id: str) -> Path:
    return UNSENT / f"{run_id}.files"


def _copied(run_id: str, path: Path) -> Path:
    """A copy, for by the time it is sent the original may be gone or another run's."""
    folder = _copies(run_id) / str(len(list(_copies(run_id).glob("*"))))
    folder.mkdir(parents=True)
    target = folder / path.name
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copy2(path, target)
    return target.absolute()


def _rewrite(file: Path, lines: list[str]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in lines))
    temporary.replace(file)


_SEND: dict[str, Callable[..., None]] = {
    "epoch": runs.log_epoch,
    "metrics": runs.log_metrics,
    "artifact": lambda run_id, path, folder: runs.log_artifact(run_id, Path(path), folder),
    "tags": runs.set_tags,
    "finish": runs.finish_run,
}
