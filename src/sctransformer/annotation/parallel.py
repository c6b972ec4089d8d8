"""Work in threads, with results in the order of the work."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 4
"""Items per thread that are taken before the first result is consumed, so that no thread waits for a slow one."""


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R]:
    """Call `work` for each item in some threads, and yield its results in the order of the items.

    Threads help where `work` releases Python's global lock, as onnxruntime does. Items are taken in the thread of the
    consumer. After an error, or if the consumer stops early, calls that have not started are dropped and the others are
    waited for.

    Args:
        work: called in several threads at once.
        items: its arguments; a few are taken ahead of the results.
        threads: number of threads; 1 calls `work` in the thread of the consumer.

    Raises:
        Exception: the first error of `work`, in the order of the items, or an error of `items`.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in_order")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
