"""Run a function in a process of its own, so that its memory can be measured."""

from collections.abc import Callable
from multiprocessing import get_context
from typing import Any, TypeVar

from sctransformer.training.memory import peak_resident_mib

Result = TypeVar("Result")


def run_isolated(function: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    """Run a function of a module in a new process.

    Returns:
        Its result, and the peak memory of the process in MiB, imports included.
    """
    with get_context("spawn").Pool(1) as pool:
        result: tuple[Result, float] = pool.apply(_with_peak, (function, arguments))
        return result


def _with_peak(function: Callable[..., Any], arguments: tuple[object, ...]) -> tuple[Any, float]:
    return function(*arguments), peak_resident_mib()
