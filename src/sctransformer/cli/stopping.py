"""How a command hears that it is to stop: as an exception, so that what it has begun is cleaned up."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 143
"""Exit code after SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM, which a scheduler sends, end the process as Ctrl-C does.

    Python drops what a signal's handler raises in a callback that ignores exceptions, of a weak reference for one, and
    h5py has many: the command would go on as if nothing had been said. What was dropped is raised once more.
    """
    dropped: list[BaseException] = []
    others = sys.unraisablehook

    def terminate(signum: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    def raise_again(signum: int, frame: FrameType | None) -> None:
        raise dropped[-1]

    def keep(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt | SystemExit):
            dropped.append(unraisable.exc_value)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            others(unraisable)

    before = {signum: signal.signal(signum, how) for signum, how in
              ((signal.SIGTERM, terminate), (signal.SIGALRM, raise_again))}  # fmt: skip
    sys.unraisablehook = keep
    try:
        yield
    finally:
        sys.unraisablehook = others
        for signum, how in before.items():
            signal.signal(signum, how)
