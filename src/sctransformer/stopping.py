"""Signals that stop a command, turned into exceptions so that the command can clean up."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 143
"""Exit code after SIGTERM."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, stop the process as Ctrl-C does.

    Python ignores an exception that a signal handler raises inside certain callbacks, such as those of weak references,
    of which h5py has many; the command would continue. An exception that was ignored is raised again.
    """
    ignored: list[BaseException] = []
    default_hook = sys.unraisablehook

    def terminate(signum: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    def raise_again(signum: int, frame: FrameType | None) -> None:
        raise ignored[-1]

    def keep(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt | SystemExit):
            ignored.append(unraisable.exc_value)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            default_hook(unraisable)

    before = {signum: signal.signal(signum, how) for signum, how in
              ((signal.SIGTERM, terminate), (signal.SIGALRM, raise_again))}  # fmt: skip
    sys.unraisablehook = keep
    try:
        yield
    finally:
        sys.unraisablehook = default_hook
        for signum, how in before.items():
            signal.signal(signum, how)
