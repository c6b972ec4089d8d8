"""Processes: the identity of one, whether it is still running, and running a command that can be interrupted."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

_TOLERANCE_SECONDS = 1.0
"""Start times are derived from the boot time, which shifts slightly when the clock is adjusted."""


@dataclass(frozen=True)
class ProcessIdentity:
    """What tells a process apart from every other one, also after its PID has been reused."""

    host: str
    pid: int
    started: float
    """Seconds since 1970."""
    process_table: str = ""
    """Boot ID and PID namespace, within which the PID is unique; empty in records of older versions."""

    @classmethod
    def current(cls) -> Self:
        """The identity of this process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Self:
        """The identity of a running process of this machine.

        Raises:
            psutil.NoSuchProcess: no process has this PID.
        """
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time(), _process_table())

    @classmethod
    def from_json(cls, content: str | Mapping[str, Any]) -> Self:
        """Read an identity from JSON text or from a parsed object that may hold other fields too.

        Older versions wrote the list `[host, pid, started]`, and left out `process_table`, and `host` for processes
        that cannot run elsewhere; all of these are read.

        Raises:
            ValueError: the content is not such a record.
        """
        parsed = json.loads(content) if isinstance(content, str) else content
        try:
            if isinstance(parsed, list):
                host, pid, started = parsed
                return cls(str(host), int(pid), float(started))
            return cls(
                host=str(parsed.get("host") or socket.gethostname()),
                pid=int(parsed["pid"]),
                started=float(parsed["started"]),
                process_table=str(parsed.get("process_table", "")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a process record: {parsed!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """The identity as a JSON object, for `from_json`."""
        return asdict(self)

    def is_alive(self) -> bool | None:
        """Whether the process is still running; None if this cannot be determined from here.

        A process of another machine or of another container cannot be seen. A process of this host that started
        before the machine was booted has ended.
        """
        this_host = self.host == socket.gethostname()
        visible = self.process_table == _process_table() if self.process_table else this_host
        if not visible:
            return False if this_host and self.started < psutil.boot_time() - _TOLERANCE_SECONDS else None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= _TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return None


def run_interruptible(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command until it ends; stopping this process interrupts the command first.

    The command gets a process group of its own. In the group of the terminal its processes would receive Ctrl-C twice,
    and the second one would break off their clean-up. Stopping a second time kills them.

    Returns:
        The exit code of the command.
    """
    with _interrupts_heard():
        started = subprocess.Popen(command, env=environment, process_group=0)
    with started as process:
        try:
            return process.wait()
        except (KeyboardInterrupt, SystemExit):
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            raise


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """Let processes that are started here receive SIGINT, also where it is ignored, as in the background of a shell."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what is ignored stays so in a new program
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _process_table() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()
