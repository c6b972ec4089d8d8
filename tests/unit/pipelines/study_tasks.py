"""A task for the processes of a study; they import this module, so it imports nothing large."""

import os


def half(number: int) -> tuple[float, str | None]:
    """Half of a number and the number of threads; 3 fails."""
    if number == 3:
        raise ValueError("three")
    return number / 2, os.environ.get("OMP_NUM_THREADS")
