"""Looking up a registered version without importing MLflow, which takes longer than labelling a small file.

The tables of a SQLite store are read, or the REST API of a server is called; nothing is changed. Where anything is not
as expected, for example tables of another version of MLflow, a model that does not exist or a server that wants other
credentials, there is no answer: MLflow's client is asked then, and reports errors.
"""

import base64
import json
import os
import sqlite3
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from sctransformer.registry.references import Reference
from sctransformer.registry.stored_bundle import StoredVersion
from sctransformer.tracking.location import database_file, tracking_uri

SCHEMAS = frozenset({"dc11669786a5"})
"""Revisions of MLflow's database (table `alembic_version`) in which the columns below mean what they do here."""
_WORKSPACE = "default"
_DELETED = "Deleted_Internal"
"""Stage of a version that MLflow has deleted."""
_OTHER_SETTINGS = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
)
"""Environment variables that change how MLflow's client finds or asks the registry."""
_API = "api/2.0/mlflow"
_LONGEST_WAIT_SECONDS = 10.0


def look_up(reference: Reference) -> StoredVersion | None:
    """The version that a reference names now; None if MLflow's client has to be asked."""
    if any(os.environ.get(name) for name in _OTHER_SETTINGS):
        return None
    store = tracking_uri()
    try:
        if (file := database_file(store)) is not None:
            return _in_database(store, file, reference)
        if urlsplit(store).scheme in ("http", "https"):
            return _on_server(store, reference)
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None


def _in_database(store: str, file: Path, reference: Reference) -> StoredVersion | None:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        schemas = {row[0] for row in database.execute("SELECT version_num FROM alembic_version")}
        if not schemas or not schemas <= SCHEMAS:
            return None
        number = reference.version
        if reference.alias is not None:
            number = _only(
                database.execute(
                    "SELECT version FROM registered_model_aliases WHERE workspace = ? AND name = ? AND alias = ?",
                    (_WORKSPACE, reference.name, reference.alias),
                ).fetchall()
            )
        key = (_WORKSPACE, reference.name, number)
        location = _only(
            database.execute(
                "SELECT coalesce(nullif(storage_location, ''), source) FROM model_versions "
                "WHERE workspace = ? AND name = ? AND version = ? AND current_stage != ?",
                (*key, _DELETED),
            ).fetchall()
        )
        tags = database.execute(
            "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?", key
        ).fetchall()
    return StoredVersion(store, reference.name, int(number or 0), dict(tags), str(location))


def _only(rows: list[tuple[Any, ...]]) -> Any:
    """The value of the only row, which is not null."""
    ((value,),) = rows
    if value is None:
        raise ValueError("null")
    return value


def _on_server(store: str, reference: Reference) -> StoredVersion | None:
    name, number = reference.name, reference.version
    if reference.alias is not None:
        # Not asked by alias: MLflow resolves `latest` to the newest version of any kind.
        model = _get(store, "registered-models/get", {"name": name})["registered_model"]
        number = {one["alias"]: int(one["version"]) for one in model.get("aliases", [])}[reference.alias]
    query = {"name": name, "version": str(number)}
    version = _get(store, "model-versions/get", query)["model_version"]
    if (version["name"], int(version["version"])) != (name, number):
        return None
    location = _get(store, "model-versions/get-download-uri", query)["artifact_uri"]
    tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
    return StoredVersion(store, name, int(version["version"]), tags, str(location))


def _get(store: str, path: str, query: Mapping[str, str]) -> Any:
    """The JSON object that a server returns; errors are an OSError or a ValueError."""
    parts = urlsplit(store)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or unquote(parts.password or "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    host = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    request = urllib.request.Request(f"{host}/{_API}/{path}?{urlencode(query)}")
    if user and password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    elif token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=_LONGEST_WAIT_SECONDS) as answer:
        return json.load(answer)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials are sent to the configured server only; a redirect is an error here."""

    def redirect_request(self, *_: Any) -> None:
        return None
