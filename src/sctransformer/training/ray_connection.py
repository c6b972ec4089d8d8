"""The connection to Ray: a cluster, or this machine; what it has to give; the code that is shipped to it."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts
if os.environ.get("RAY_ADDRESS") and ("RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray/auth_token").exists()):
    # `ray start` asks for the token of its machine if there is one; a cluster that asks for none does not mind it
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
import torch

import sctransformer
from sctransformer.errors import UserError

ADDRESS = "RAY_ADDRESS"
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the driver of a submitted job, whose code is where it runs."""
_SECONDS = 5.0
"""To wait for an address to answer."""


@contextmanager
def connection(code: Sequence[Path] = ()) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, else start Ray on this machine; nothing if connected already.

    Args:
        code: folders of packages that are shipped to a cluster beside sctransformer.

    Raises:
        UserError: nothing answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if on_cluster():
        address = os.environ[ADDRESS]
        _require_answer(address)
        if _SUBMITTED not in os.environ:
            modules = [str(Path(sctransformer.__file__).parent), *(str(folder.absolute()) for folder in code)]
            settings["runtime_env"] = {"py_modules": modules, "excludes": ["**/__pycache__"]}
    else:
        # by itself Ray would join what `ray start` last started on this machine, or wait for it if it is no more
        settings |= {"address": "local", "include_dashboard": False}
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"{ADDRESS}={os.environ[ADDRESS]}" if on_cluster() else "Ray on this machine"
        hint = "; if it asks for a token, give it in RAY_AUTH_TOKEN" if on_cluster() else ""
        raise UserError(f"{where}: cannot be used ({_first_line(error)}){hint}.") from error
    try:
        yield
    finally:
        ray.shutdown()


def on_cluster() -> bool:
    """Whether a cluster is named, rather than this machine."""
    return os.environ.get(ADDRESS, "") not in ("", "local")


def nodes() -> int:
    """Nodes of the cluster that are alive."""
    return sum(node["Alive"] for node in ray.nodes())


def require_resources(workers: int, cpus: float, gpus: bool) -> None:
    """Refuse what can never be scheduled, rather than wait for it.

    Args:
        workers: fewest that must run at once.
        cpus: of each.
        gpus: whether each needs a GPU.

    Raises:
        UserError: saying what there is and what was asked for.
    """
    there = ray.cluster_resources()
    where = f"the cluster at {os.environ[ADDRESS]}" if on_cluster() else "this machine"
    found = there.get("GPU", 0.0)
    if gpus and (found < workers or not (on_cluster() or torch.cuda.is_available())):
        raise UserError(
            f"train.gpus asks for a GPU for each of {workers} workers and {where} has {found:g}: set train.gpus=false, "
            "or train.workers to what there is."
        )
    found = there.get("CPU", 0.0)
    if found < workers * cpus:
        raise UserError(
            f"train.workers is {workers} with {cpus:g} CPU each and {where} has {found:g} CPUs: "
            f"set train.workers={max(1, int(found // cpus))} or less."
        )


def _require_answer(address: str) -> None:
    """Ray itself waits for half a minute, and then prints a page."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto` and the like, which Ray resolves
    try:
        with socket.create_connection((host, int(port)), timeout=_SECONDS):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(
            f"{ADDRESS}={address}: no Ray cluster answers there ({why}); start it, correct {ADDRESS}, or unset it to "
            "train on this machine."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
