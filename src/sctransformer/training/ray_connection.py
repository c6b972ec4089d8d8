"""Connect to Ray: to a cluster or on this machine; check its resources; ship code to it."""

import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts, as the next
os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's 15, training beside other work hardly gets a core
if os.environ.get("RAY_ADDRESS") and ("RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray/auth_token").exists()):
    # `ray start` uses the token of its machine if there is one; a cluster without authentication ignores it
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
import torch

import sctransformer
from sctransformer.errors import UserError

ADDRESS = "RAY_ADDRESS"
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the driver of a submitted job, whose code is on the cluster already."""
_TEMPORARY = "/tmp"
_SOCKET = "/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Longest path of a socket below Ray's folder."""
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Of an AF_UNIX socket, in bytes."""
_TIMEOUT_SECONDS = 5.0
"""Time limit for the address to answer."""


@contextmanager
def connection(code: Sequence[Path] = ()) -> Iterator[None]:
    """Connect to the cluster of RAY_ADDRESS, or start Ray on this machine, unless Ray is connected already.

    Args:
        code: folders of packages that are shipped to a cluster in addition to sctransformer.

    Raises:
        UserError: the cluster does not answer or refuses the connection.
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
        # without an address Ray would connect to the cluster last started on this machine, or wait for it
        settings |= {"address": "local", "include_dashboard": False, **_local_paths()}
    try:
        ray.init(**settings)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"{ADDRESS}={os.environ[ADDRESS]}" if on_cluster() else "Ray on this machine"
        hint = "; if it needs a token, set RAY_AUTH_TOKEN" if on_cluster() else ""
        raise UserError(f"{where}: cannot be used ({_first_line(error)}){hint}.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _local_paths() -> dict[str, Any]:
    """Settings of `ray.init` for paths with which Ray on this machine does not work by itself."""
    settings: dict[str, Any] = {}
    quoted = shlex.quote(sys.executable)
    if quoted != sys.executable:  # Ray starts workers by a shell command in which the interpreter is not quoted
        settings["runtime_env"] = {"py_executable": quoted}
    if (folder := short_folder()) is not None:
        settings["_temp_dir"] = folder
    return settings


def short_folder() -> str | None:
    """A folder for the files of Ray if its own choice makes the paths of sockets too long; else None.

    Ray chooses RAY_TMPDIR, then TMPDIR, then /tmp.

    Raises:
        UserError: the path of RAY_TMPDIR is too long.
    """
    for name in ("RAY_TMPDIR", "TMPDIR"):
        chosen = os.environ.get(name)
        if chosen is None:
            continue
        length = len(os.fsencode(f"{chosen}{_SOCKET}"))
        if length <= _LONGEST_SOCKET:
            return None
        if name == "RAY_TMPDIR":
            raise UserError(
                f"{name}={chosen}: is too long a path for the sockets of Ray ({length} bytes with their names, at most "
                f"{_LONGEST_SOCKET} are allowed); set {name} to a shorter one, such as {_TEMPORARY}."
            )
        folder = f"{_TEMPORARY}/ray"
        print(
            f"Note: TMPDIR is too long a path for the sockets of Ray, which uses {folder}; RAY_TMPDIR sets another "
            "folder.",
            file=sys.stderr,
        )
        return folder
    return None


def on_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster."""
    return os.environ.get(ADDRESS, "") not in ("", "local")


def nodes() -> int:
    """Number of running nodes of the cluster."""
    return sum(node["Alive"] for node in ray.nodes())


def require_resources(workers: int, cpus: float, gpus: bool) -> None:
    """Check that the cluster can schedule the workers; Ray itself would wait.

    Args:
        workers: number of workers that must run at once.
        cpus: CPUs per worker.
        gpus: whether each worker needs a GPU.

    Raises:
        UserError: naming the resources that exist and those that are needed.
    """
    available = ray.cluster_resources()
    where = f"the cluster at {os.environ[ADDRESS]}" if on_cluster() else "this machine"
    found = available.get("GPU", 0.0)
    if gpus and (found < workers or not (on_cluster() or torch.cuda.is_available())):
        raise UserError(
            f"train.gpus needs a GPU for each of {workers} workers and {where} has {found:g}: set train.gpus=false, "
            "or train.workers to the number of GPUs."
        )
    found = available.get("CPU", 0.0)
    if found < workers * cpus:
        raise UserError(
            f"train.workers is {workers} with {cpus:g} CPU each and {where} has {found:g} CPUs: "
            f"set train.workers={max(1, int(found // cpus))} or less."
        )


def _require_answer(address: str) -> None:
    """Check that a process answers at the address; Ray itself would wait for half a minute and print a page."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # an address such as `auto`, which Ray resolves
    try:
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS):
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
