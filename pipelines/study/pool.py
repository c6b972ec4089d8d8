"""Worker processes side by side: results written as they come, and nothing left running when the parent is gone."""

import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from sctransformer.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read by numpy, scikit-learn and torch when a worker starts: workers share the cores, threads would only collide."""


def parallel_map(work: Callable[[T], R], tasks: Sequence[T], processes: int) -> Iterator[tuple[T, R | Exception]]:
    """Do tasks in worker processes of one thread each; give each task with its result, or error, as it is done.

    When the caller leaves early (Ctrl-C, an error) tasks that wait are dropped and the workers ended. A worker whose
    parent is gone, killed or not, ends by itself.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    pool = ProcessPoolExecutor(min(processes, len(tasks)) or 1, multiprocessing.get_context("spawn"), _start)
    finished = False
    try:
        with _held_back(signal.SIGINT):  # workers inherit that, from their very beginning
            futures: dict[Future[R], T] = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield futures[future], future.result() if error is None else error
        finished = True
    finally:
        if not finished:
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder against a second run; the system lets go of it when the process ends, however it ends.

    Raises:
        UserError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another run is at work there; wait for it, or choose another --out.") from error
        yield


@contextmanager
def _held_back(signum: signal.Signals) -> Iterator[None]:
    """A signal that comes meanwhile is heard afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})


def _start() -> None:
    """In a worker: end with the parent, to which Ctrl-C is left."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    import torch  # after the environment was set

    torch.set_num_threads(1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
