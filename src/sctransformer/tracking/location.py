"""Which MLflow store is used. Imports nothing of MLflow, which takes seconds."""

import os
import re
from pathlib import Path

DATABASE = "mlflow.db"
"""File of the default store, in the current folder."""
_SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the SQLite database `mlflow.db` of the current folder.

    The path of a SQLite database is made absolute: MLflow caches stores by URI, and a relative one would keep
    referring to the folder in which it was first used.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{DATABASE}"
    if uri.startswith(_SQLITE) and ":memory:" not in uri:
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
    return uri


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def redact_credentials(uri: str) -> str:
    """A URI without user name and password."""
    return re.sub(r"//[^/@\s]*@", "//***@", uri)
