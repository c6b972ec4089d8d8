"""How a command hears that it is to stop: as an exception, so that what it has begun is cleaned up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
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


def run_stoppable(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end and give its exit code; whoever stops this process interrupts the command first.

    It runs in a process group of its own: of Ctrl-C, which a terminal sends to every process of the group in front, its
    processes would hear twice, and the second one would break off their cleaning up. Stopping a second time kills them.
    """
    with subprocess.Popen(command, env=environment, process_group=0) as process:
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
