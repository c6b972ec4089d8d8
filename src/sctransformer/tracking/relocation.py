"""A SQLite store whose project folder was copied or moved: MLflow records artifacts by absolute paths.

MLflow has no command that changes the location of artifacts (mlflow/mlflow#3144), so the paths are changed in its
database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sctransformer.errors import UserError

ARTIFACTS = "mlartifacts"
"""Folder for artifacts beside a SQLite database."""
_DEFAULT = "mlruns"
"""Folder that MLflow itself names for its default experiment."""
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow records locations of artifacts."""


def former_folder(database: Path) -> Path | None:
    """The folder in which a database has its artifacts, if that is not its own folder; None if it is.

    A database that cannot be read, or holds no location of this package, has no such folder.
    """
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    except sqlite3.Error:
        return None
    for name, location in rows:
        folder = local_path(str(location))
        if folder is None or (folder.parent.name, folder.name) != (ARTIFACTS, str(name)):
            continue
        if not _same(folder.parent.parent, database.absolute().parent):
            return folder.parent.parent
    return None


def require_own_artifacts(database: Path) -> None:
    """Check that nothing would be written to the folder that a project was copied or moved from.

    Raises:
        UserError: the artifacts of the database are recorded in another folder.
    """
    former = former_folder(database)
    if former is not None:
        raise UserError(
            f"{database}: records its artifacts in {former}, because the project was copied or moved from there; run "
            "`sctransformer doctor --repair` to record those of this folder, then try again."
        )


def own_location(database: Path, path: Path) -> Path:
    """The place of an artifact beside the database, if its project was copied or moved; else the path itself."""
    former = former_folder(database)
    if former is None or not path.is_relative_to(former / ARTIFACTS):
        return path
    own = database.absolute().parent / path.relative_to(former)
    return own if own.exists() else path


def relocate(database: Path) -> Path | None:
    """Record the artifacts beside a database as its own.

    Returns:
        The folder that was recorded before; None if nothing had to be changed.

    Raises:
        UserError: there are no artifacts beside the database, or it cannot be written.
    """
    former = former_folder(database)
    if former is None:
        return None
    own = database.absolute().parent
    if not (own / ARTIFACTS).is_dir():
        raise UserError(f"{own / ARTIFACTS}: no such folder; copy it from {former / ARTIFACTS}, then try again.")
    pairs = [(make(former / name), make(own / name)) for name in (ARTIFACTS, _DEFAULT) for make in (Path.as_uri, str)]
    try:
        with closing(sqlite3.connect(database)) as connection, connection:
            for table, column in _existing(connection):
                for before, after in pairs:
                    connection.execute(  # not LIKE, since paths may contain its wildcards
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    )
    except sqlite3.Error as error:
        raise UserError(f"{database}: cannot be changed ({error}); end the programs that use it.") from error
    return former


def _existing(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Those of `_COLUMNS` that this version of MLflow has."""
    return [
        (table, column)
        for table, column in _COLUMNS
        if column in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    ]


def local_path(location: str) -> Path | None:
    """The path of a location that is a path or a file: URI; None for any other."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if location.startswith("/") else None


def _same(first: Path, second: Path) -> bool:
    try:
        return first == second or first.samefile(second)
    except OSError:
        return False
