"""Calls to MLflow that survive an unreachable server: they are kept in a file, and sent in order later.

A library for retries would not do: the calls must outlive this process.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sctransformer.errors import UserError
from sctransformer.layout import UNSENT
from sctransformer.locks import LEASE, lock_stream
from sctransformer.tracking import runs

RETRY_SECONDS = 30.0
"""Pause after a failure, because each call to an unreachable server takes seconds."""

_not_before: dict[str, float] = {}


def log_epoch(run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
    """As `runs.log_epoch`; never fails."""
    _deliver(run_id, "epoch", epoch=epoch, metrics=dict(metrics), at=runs.milliseconds())


def log_metrics(run_id: str, metrics: Mapping[str, float]) -> None:
    """As `runs.log_metrics`; never fails."""
    _deliver(run_id, "metrics", metrics=dict(metrics), at=runs.milliseconds())


def log_artifact(run_id: str, path: Path, folder: str | None = None) -> None:
    """As `runs.log_artifact`; never fails because of the store. An artifact that cannot be sent now is copied.

    Raises:
        UserError: the file does not exist.
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
    """Number of calls kept for a run."""
    file = _file(run_id)
    return len(file.read_text().splitlines()) if file.exists() else 0


def send_kept(run_id: str) -> int:
    """Send the calls kept for a run, in order, as far as possible now.

    Returns:
        The number of calls that are still kept.
    """
    file = _file(run_id)
    if not file.exists():
        return 0
    with _locked():
        return _send_file(run_id, file)


def _send_file(run_id: str, file: Path) -> int:
    lines = file.read_text().splitlines() if file.exists() else []
    for number, line in enumerate(lines):
        call = json.loads(line)
        try:
            _SEND[call.pop("call")](run_id, **call)
        except UserError:
            _rewrite(file, lines[number:])
            _not_before[run_id] = time.monotonic() + RETRY_SECONDS
            return len(lines) - number
    file.unlink(missing_ok=True)
    shutil.rmtree(_copies(run_id), ignore_errors=True)
    _not_before.pop(run_id, None)
    return 0


def send_all() -> dict[str, int]:
    """Send the calls kept for all runs; the number of calls that are still kept, for each run that has any."""
    left = {file.stem: send_kept(file.stem) for file in sorted(UNSENT.glob("*.jsonl"))}
    return {run_id: number for run_id, number in left.items() if number}


def _deliver(run_id: str, call: str, **details: Any) -> None:
    """Send a call now, after those that are kept; if that fails, keep it too."""
    waiting = time.monotonic() < _not_before.get(run_id, 0.0)
    if not waiting and send_kept(run_id) == 0:
        try:
            _SEND[call](run_id, **details)
            return
        except UserError as error:
            _not_before[run_id] = time.monotonic() + RETRY_SECONDS
            print(
                f"Warning: {str(error).rstrip('.')}; metrics of this run are kept in {_file(run_id)} and sent when the "
                "store can be reached, or by `sctransformer runs`.",
                file=sys.stderr,
            )
    with _locked(), _file(run_id).open("a") as stream:
        if call == "artifact":
            details["path"] = str(_copied(run_id, Path(details["path"])))
        stream.write(json.dumps({"call": call, **details}) + "\n")


@contextmanager
def _locked() -> Iterator[None]:
    """Keeps a training that appends calls apart from `sctransformer runs` that sends them."""
    UNSENT.mkdir(parents=True, exist_ok=True)
    file = UNSENT.with_suffix(".lock")
    with file.open("a") as stream, lock_stream(stream, UNSENT.with_suffix(f".{LEASE}"), wait=True):
        yield


def _file(run_id: str) -> Path:
    return UNSENT / f"{run_id}.jsonl"


def _copies(run_id: str) -> Path:
    return UNSENT / f"{run_id}.files"


def _copied(run_id: str, path: Path) -> Path:
    """A copy, because the original may be deleted or belong to another run by the time it is sent."""
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
