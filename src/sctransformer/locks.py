"""Locks between processes, also on file systems without flock, as some Lustre and NFS mounts are."""

import errno
import fcntl
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import SoftFileLease, Timeout

LEASE = "lease"
"""Name of the lock file that is used without flock."""
LEASE_SECONDS = 30.0
"""A lease that was not renewed for so long belongs to a dead process of another machine."""
_MARGIN_SECONDS = 5.0
_warned: set[int] = set()
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def lock_stream(stream: IO[str], lease: Path, wait: bool) -> Iterator[None]:
    """Lock an open file for this process; the lock ends with the process, even if it is killed.

    On a file system without flock, a lock file with a heartbeat is used instead. It is taken over at once from a dead
    process of this machine, and after `LEASE_SECONDS` from one of another machine.

    Args:
        stream: the file.
        lease: the lock file to use without flock, in the same folder.
        wait: wait until the lock is free.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is false.
        OSError: the file system does not allow a lock.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
    else:
        yield
        return
    _warn(lease.parent)
    with _leased(lease, wait):
        yield


def has_flock(folder: Path) -> bool:
    """Whether the file system of a folder has flock; true if the folder cannot be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_FLOCK
    return True


@contextmanager
def _leased(file: Path, wait: bool) -> Iterator[None]:
    lease = SoftFileLease(file, lease_duration=LEASE_SECONDS, thread_local=False)
    try:
        lease.acquire(timeout=-1.0 if wait else 0.0)
    except Timeout as error:
        if not _may_be_expired(file):
            raise BlockingIOError(errno.EAGAIN, "another process holds the lock") from error
        try:
            lease.acquire(timeout=LEASE_SECONDS + _MARGIN_SECONDS)
        except Timeout:
            raise BlockingIOError(errno.EAGAIN, "another process holds the lock") from error
    try:
        yield
    finally:
        lease.release()


def _may_be_expired(file: Path) -> bool:
    """Whether a lease was last renewed long ago; if clocks differ, this only decides whether to wait."""
    try:
        return time.time() - file.stat().st_mtime > LEASE_SECONDS
    except FileNotFoundError:
        return True


def _warn(folder: Path) -> None:
    """Warn once per process and file system."""
    device = folder.stat().st_dev
    if device not in _warned:
        _warned.add(device)
        print(
            f"Warning: the file system of {folder} has no flock; a lock file with a heartbeat is used instead.",
            file=sys.stderr,
        )
