"""Servers in processes of their own, and children that are killed at a chosen call."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

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
"""Methods by which a decision changes the store."""


def die_before(call: int) -> None:
    """Let this child process be killed, as by `kill -9`, before the call of that number that changes the store."""
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
        setattr(MlflowClient, name, deadly(getattr(MlflowClient, name)))


class MlflowServer:
    """A real MLflow server with its own database in a folder, artifacts behind it; it may be started again.

    Args:
        folder: a new one.
        database: to begin with a copy of; an empty one takes seconds to make.
    """

    def __init__(self, folder: Path, database: Path | None = None) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        folder.mkdir()
        if database is not None:
            shutil.copyfile(database, folder / "server.db")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self._folder / "files")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        log = self._folder / "log"
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd=self._folder, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 240
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)

    def end(self, how: signal.Signals) -> None:
        """Send a signal to it and to its workers, and wait for its end; nothing if it has ended."""
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(timeout=120)
            self._process = None


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
