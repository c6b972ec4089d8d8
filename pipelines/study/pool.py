"""Parallel worker processes: results as they finish, and no process left when the parent ends."""

import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import track

from sctransformer.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Number of threads of numpy, scikit-learn and torch, read when a worker starts: the workers share the cores."""


IMPORTED = ["pipelines.study.work"]
"""Imported before workers are started; it takes seconds."""


class WorkerPool:
    """Worker processes of one thread each, used as a context; what the tasks need is imported once for all of them.

    If the block ends with an error or Ctrl-C, waiting tasks are cancelled and the workers terminated. A worker ends by
    itself when its parent has ended, also if the parent was killed.

    Args:
        processes: number of workers; each is started when there is a task for it.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._before = {name: os.environ.get(name) for name in ONE_THREAD}

    def __enter__(self) -> Self:
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        self._pool = self._new_pool()
        return self

    def map(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Exception]]:
        """Run tasks; yield each task with its result or error as it finishes."""
        try:
            futures = self._submit(work, tasks)
        except BrokenProcessPool:  # a worker was killed in an earlier call
            self._pool = self._new_pool()
            futures = self._submit(work, tasks)
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield futures[future], future.result() if error is None else error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")  # workers are forked from a process without threads
        context.set_forkserver_preload(IMPORTED)
        return ProcessPoolExecutor(self._processes, context, _start)

    def _submit(self, work: Callable[[T], R], tasks: Sequence[T]) -> dict[Future[R], T]:
        with _blocked(signal.SIGINT):  # workers inherit the block from their start
            return {self._pool.submit(work, task): task for task in tasks}


def all_results(work: Callable[[T], R], tasks: Sequence[T], processes: int, title: str) -> list[R]:
    """Results of all tasks, in the order in which they finish, with a progress bar; the first error is raised."""
    results = []
    with WorkerPool(processes) as pool:
        for _, result in track(pool.map(work, tasks), title, len(tasks), console=Console(stderr=True)):
            if isinstance(result, Exception):
                raise result
            results.append(result)
    return results


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against a second run; the lock is released when the process ends.

    Raises:
        UserError: another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another process is running this study; wait for it, or choose another --out."
            ) from error
        yield


@contextmanager
def _blocked(signum: signal.Signals) -> Iterator[None]:
    """Delay a signal until the end of the block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signum})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})


def _start() -> None:
    """In a worker: one thread, and an end when the parent ends, which handles Ctrl-C."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # the server may have been started before
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    import torch  # after the environment variables are set

    torch.set_num_threads(1)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
