"""Prefetching: the next chunks are read in a thread while the last one is scored."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Iterate over `items` in a background thread that is at most `depth` items ahead.

    An error in the thread is raised here, in place of the item that could not be read. When the consumer stops early,
    the thread ends before this generator closes, so that the file it reads can be closed.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item without an error is an item
    finally:
        stopped.set()
        thread.join()
