"""Child processes that tests kill: forked from a server with one thread, in which the imports are done."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import cloudpickle
import pytest

ROOT = Path(__file__).parents[1]
IMPORTED = [
    "tests.conftest",
    "tests.integration.conftest",
    "sctransformer.annotation.pipeline",
    "sctransformer.registry.rollbacks",
    "mlflow.store.tracking.sqlalchemy_store",  # else imported by each child that opens a store, for seconds
    "mlflow.store.model_registry.sqlalchemy_store",
]
"""Imported once, by the server from which children are forked."""
STUCK_SECONDS = 180


@cache
def context() -> ForkServerContext:
    """The `multiprocessing` context to start children with; its server has imported what tests need."""
    found = get_context("forkserver")
    found.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        forkserver.ensure_running()
    return found


def forked(work: Callable[[], object], folder: Path) -> BaseProcess:
    """Run `work` in a child, with this process's working directory and environment variables.

    Args:
        work: any function, also a local one; what it closes over is copied.
        folder: where the child writes `error-<pid>` if `work` raises.
    """
    arguments = (cloudpickle.dumps(work), folder, Path.cwd(), dict(os.environ))
    child = context().Process(target=_child, args=arguments, daemon=True)
    child.start()
    return child


def ended(child: BaseProcess) -> int:
    """Wait for a child; its exit code, negative for a signal."""
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _child(work: bytes, folder: Path, cwd: Path, environment: dict[str, str]) -> None:
    signal.alarm(STUCK_SECONDS)
    code = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        cloudpickle.loads(work)()
        code = 0
    except BaseException as error:
        with suppress(OSError):
            (folder / f"error-{os.getpid()}").write_text(repr(error))
    finally:
        os._exit(code)
