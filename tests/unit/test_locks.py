"""Locks with flock, and on a file system that answers flock with an error."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sctransformer import locks
from sctransformer.annotation.journal import Journal
from sctransformer.errors import BusyError, OutputError
from sctransformer.locks import LEASE, has_flock

HOLD = """
import errno, fcntl, sys, time
from pathlib import Path
from sctransformer.annotation.journal import Journal
def flock(stream, how):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
with Journal(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without flock."""

    def flock(stream: object, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    locks._warned.clear()


def test_without_flock_an_output_is_locked_by_a_lease_with_one_warning(
    no_flock: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not has_flock(tmp_path)
    journal = Journal(tmp_path / "out.h5ad")
    with journal.locked():
        assert (journal.folder / LEASE).exists()
        with pytest.raises(BusyError, match=f"process {os.getpid()} is writing it now"), journal.locked():
            pass
    assert not (journal.folder / LEASE).exists()
    with journal.locked():
        pass
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "has no flock; a lock file with a heartbeat is used instead" in warnings[0]


def test_another_error_of_flock_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(stream: object, how: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = Journal(tmp_path / "out.h5ad")
    with pytest.raises(OutputError, match=r"lock: cannot be locked \(Input/output error\)"), journal.locked():
        pass


def test_the_lease_of_a_killed_process_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_flock: None
) -> None:
    target = tmp_path / "out.h5ad"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(BusyError), Journal(target).locked():
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    started = time.monotonic()
    with Journal(target).locked():
        assert time.monotonic() - started < locks.LEASE_SECONDS / 2
