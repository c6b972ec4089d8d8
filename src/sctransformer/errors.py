"""Errors for users, and how a process reports them."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, ParamSpec

DEBUG_VARIABLE = "SCTRANSFORMER_DEBUG"
UNEXPECTED = 70
"""Exit code of a bug; 1 is an error that the user can fix, 2 a wrong command line, 75 a conflict with a process."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
SOME_FAILED = 3
"""Exit code: some files were labelled, and some failed."""
LONGEST_QUOTED = 200
"""Maximum length of a quoted message of another library."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
P = ParamSpec("P")


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence: which file, which field, what was found, what was expected, what to do.
    It is printed without a traceback, unless in debug mode, and the process exits with `exit_code`.
    """

    exit_code = 1


class OutputError(UserError):
    """An output cannot be written, as on a full disk; finished work is kept. 73 is EX_CANTCREAT of sysexits.h."""

    exit_code = 73


class BusyError(UserError):
    """Another process is doing this work; try again later. 75 is EX_TEMPFAIL of sysexits.h."""

    exit_code = 75


def exit_code_of(errors: Sequence[UserError], attempted: int) -> int:
    """Exit code of a command that processes several files: 0, or what the failures have in common.

    Args:
        errors: one for each file that failed.
        attempted: number of files, failed or not.

    Returns:
        The exit code of the errors if every file failed with the same one, else `SOME_FAILED`.
    """
    if not errors:
        return 0
    codes = {error.exit_code for error in errors}
    return codes.pop() if len(errors) == attempted and len(codes) == 1 else SOME_FAILED


def printable(text: str) -> str:
    """A text without control characters, which could change what a terminal shows: escaped instead."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(error: Exception) -> str:
    """The message of an error of another library, shortened to one line; its class name if the message is empty."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}..."


def debugging() -> bool:
    """Whether tracebacks are shown (`--debug`, or SCTRANSFORMER_DEBUG=1)."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def fail(error: UserError) -> NoReturn:
    """Print the message on standard error and exit with the exit code of the error."""
    print(f"Error: {printable(str(error))}", file=sys.stderr)
    sys.exit(error.exit_code)


def run_reporting(main: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call `main`; report a `UserError` by its message and exit code, and Ctrl-C by its exit code."""
    try:
        main(*args, **kwargs)
    except KeyboardInterrupt:
        if debugging():
            raise
        sys.exit(INTERRUPTED)
    except UserError as error:
        if debugging():
            raise
        fail(error)
