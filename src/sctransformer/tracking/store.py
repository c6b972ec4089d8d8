"""The MLflow store: a client without log output, and errors in one sentence."""

import functools
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.tracking.location import database_file, redact_credentials, tracking_uri
from sctransformer.tracking.relocation import ARTIFACTS, require_own_artifacts

P = ParamSpec("P")
T = TypeVar("T")

_SQLITE_MAGIC = b"SQLite format 3\0"
_RESTORE = "restore or rename it in MLflow"


_WHY = re.compile(r"Connection refused|timed out|Name or service not known|error code \d+|too many \d+ error responses")
"""The relevant part of the message of a failed request."""


def connect(must_exist: bool = False) -> MlflowClient:
    """A client of the store.

    Args:
        must_exist: for readers: a SQLite database that does not exist is an error and is not created.

    Raises:
        UserError: the database does not exist, cannot be created or is not a database, or the server does not respond.
    """
    uri = tracking_uri()
    file = database_file(uri)
    if file is not None:
        _require_usable(file, must_exist)
    return _client(uri)


def connect_to_write(must_exist: bool = False) -> MlflowClient:
    """A client of the store for a command that changes it; see `connect`.

    Raises:
        UserError: as `connect`; the database is read-only; or the project was copied or moved, so that artifacts would
            go to its former folder.
    """
    file = database_file(tracking_uri())
    if file is not None and file.exists():
        require_own_artifacts(file)
        if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
            raise UserError(
                f"{file}: cannot be written by this user, so nothing can be recorded in it; set MLFLOW_TRACKING_URI."
            )
    return connect(must_exist)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The ID of an experiment, which is created if it does not exist.

    With a SQLite database, artifacts go to `mlartifacts` beside it, as an absolute path; a server chooses itself.

    Raises:
        UserError: the experiment was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file = database_file(client.tracking_uri)
        location = None if file is None else (file.parent / ARTIFACTS / name).as_uri()
        created: str = client.create_experiment(name, artifact_location=location)
        return created
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise UserError(f"{redact_credentials(client.tracking_uri)}: the experiment {name!r} was deleted; {_RESTORE}.")
    found: str = experiment.experiment_id
    return found


def one_sentence(function: Callable[P, T]) -> Callable[P, T]:
    """Turn errors of MLflow, its database or a missing driver into a `UserError` of one line that names the store."""

    @functools.wraps(function)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except MlflowException as error:
            raise UserError(_sentence(error)) from error
        except ModuleNotFoundError as error:
            uri = redact_credentials(tracking_uri())
            raise UserError(f"{uri}: this store needs the package {error.name!r}; install it here.") from error
        except Exception as error:
            if not type(error).__module__.startswith("sqlalchemy."):  # its import is slow
                raise
            raise UserError(_database_sentence(error)) from error

    return reporting


def _require_usable(file: Path, must_exist: bool) -> None:
    """Detect an unusable database at once: MLflow would retry for minutes."""
    if not file.exists():
        if must_exist:
            raise UserError(f"no registry at {file}; run from the project's folder or set MLFLOW_TRACKING_URI.")
        if not os.access(file.parent, os.W_OK):
            raise UserError(
                f"{file.parent}: cannot be written, so no registry can be created there; set MLFLOW_TRACKING_URI."
            )
        return
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); set MLFLOW_TRACKING_URI.") from error
    if start not in (_SQLITE_MAGIC, b""):
        raise UserError(f"{file}: is not a SQLite database; move it away or set MLFLOW_TRACKING_URI.")


@functools.lru_cache(maxsize=8)
@one_sentence
def _client(uri: str) -> MlflowClient:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(uri)
    if uri.startswith(("http://", "https://")):
        client.search_experiments(max_results=1)  # checks that the server responds and grants access
    return client


def _sentence(error: MlflowException) -> str:
    lines = str(error.message).strip().splitlines() or [type(error).__name__]
    uri = redact_credentials(tracking_uri())
    if "API request to" in lines[0] and "failed" in lines[0]:
        refused = _WHY.search(lines[0])
        why = refused[0] if refused else lines[0]
        code = re.search(r"(?:error code|too many) (\d+)", why)
        if code and code[1] in ("401", "403"):
            return (
                f"{uri}: the MLflow server denies access ({why}); set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or ask for permission."
            )
        if code and code[1].startswith("5"):
            return (
                f"{uri}: the MLflow server responds with an error ({why}); its database or artifact store may be down: "
                "look at its log and try again."
            )
        why = redact_credentials(why)
        return f"{uri}: the MLflow server does not respond ({why}); start it or correct MLFLOW_TRACKING_URI."
    if lines[0].startswith("The following failures occurred while downloading"):
        return f"{uri}: artifacts cannot be fetched; their store may be down: look at the server's log and try again."
    if "OperationalError" in lines[0]:
        return f"{uri}: the database does not respond ({redact_credentials(lines[0])[:200]}); start it and try again."
    return f"{uri}: {redact_credentials(lines[0])}"


def _database_sentence(error: Exception) -> str:
    uri = redact_credentials(tracking_uri())
    message = redact_credentials(str(getattr(error, "orig", None) or error)).splitlines()[0]
    if database_file(tracking_uri()) is not None:
        return f"{uri}: the database cannot be used ({message}); it is incomplete or damaged: restore it from a backup."
    return f"{uri}: the database cannot be used ({message}); look at its log, or correct MLFLOW_TRACKING_URI."
