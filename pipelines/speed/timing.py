"""Time pieces of work in turns, so that other load on the machine slows all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Work = Callable[[], object]


def seconds_of(work: Work, wait: Work = lambda: None) -> float:
    """Wall-clock seconds of one piece of work.

    Args:
        work: the function to time.
        wait: waits for work that is still running on a device, such as `torch.cuda.synchronize`.
    """
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def time_in_turns(
    works: Mapping[Key, Work], repeats: int, warm_up: bool = True, wait: Work = lambda: None
) -> dict[Key, list[float]]:
    """Seconds of each piece of work in each repeat; every repeat runs each piece once, in the same order.

    Args:
        works: functions to time, by name.
        repeats: number of repeats.
        warm_up: run each piece once more before the repeats, without counting it.
        wait: see `seconds_of`.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + warm_up):
        for name, work in works.items():
            duration = seconds_of(work, wait)
            if repeat or not warm_up:
                seconds[name].append(duration)
    return seconds
