"""Commands in processes of their own, without the seconds that imports cost: forked, and killed where a test says."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

CHANGING = (
    "set_registered_model_tag",
    "delete_registered_model_tag",
    "create_run",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "update_model_version",
    "set_model_version_tag",
    "set_tag",
    "set_terminated",
)
"""Calls by which a decision changes a store."""


STUCK_SECONDS = 180


def forked(work: Callable[[], None], folder: Path) -> int:
    """Run `work` in a child of this process; gives its pid.

    A SQLite store is opened anew there, under another name of the same folder: connections do not outlive a fork.
    """
    other_name = folder.with_name(f"{folder.name}-child-{os.urandom(4).hex()}")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        other_name.symlink_to(folder)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    signal.alarm(STUCK_SECONDS)  # a child that inherits a lock would wait for ever
    try:
        if other_name.exists():
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{other_name / 'mlflow.db'}"
        work()
        code = 0
    except BaseException as error:
        with suppress(OSError):
            (folder / f"error-{os.getpid()}").write_text(repr(error))
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a child; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_before(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be killed, as by `kill -9`, before the so-manieth call that changes the store."""
    seen = 0

    def deadly(method: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal seen
            seen += 1
            if seen == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **kwargs)

        return wrapped

    for name in CHANGING:
        monkeypatch.setattr(MlflowClient, name, deadly(getattr(MlflowClient, name)))
