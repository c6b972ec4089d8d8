"""Backup and restore of databases and artifacts, together in one folder."""

import os
import subprocess
from pathlib import Path

from infra.stack.processes import program
from infra.stack.services import connect_database, s3_client
from infra.stack.settings import BUCKET, DATABASES, LOOPBACK, Stack
from sctransformer.errors import UserError
from sctransformer.files import atomic_write, read_json, sha256_file, write_json

_LISTING = "objects.json"


def back_up(stack: Stack, target: Path) -> int:
    """Write databases, then objects: an artifact is stored before a database refers to it, so none is missed.

    Args:
        stack: a running stack; it may be in use.
        target: folder to write; it must not exist.

    Returns:
        The number of objects.

    Raises:
        UserError: the folder exists, or a service does not respond.
    """
    if target.exists():
        raise UserError(f"{target}: exists already; choose another folder for the backup.")
    with atomic_write(target) as folder:
        folder.mkdir()
        for database in DATABASES:
            _tool(stack, "pg_dump", "-Fc", "-f", str(folder / f"{database}.dump"), database)
        client = s3_client(stack)
        listing: dict[str, dict[str, str]] = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", []):
                key = str(item["Key"])
                if key.endswith("/"):
                    continue
                path = folder / "objects" / f"{len(listing):08}"
                path.parent.mkdir(exist_ok=True)
                client.download_file(BUCKET, key, str(path))
                listing[key] = {"file": path.name, "sha256": sha256_file(path)}
        write_json(folder / _LISTING, listing)
    return len(listing)


def restore(stack: Stack, source: Path) -> int:
    """Restore a backup over the current data. The MLflow server must be stopped.

    Returns:
        The number of objects.

    Raises:
        UserError: the folder is not a backup, or a file of it is damaged; nothing was changed.
    """
    listing = read_json(source / _LISTING)
    for key, entry in listing.items():
        path = source / "objects" / entry["file"]
        if not path.is_file() or sha256_file(path) != entry["sha256"]:
            raise UserError(f"{path}: is missing or damaged ({key}); this backup cannot be restored.")
    for database in DATABASES:
        if not (source / f"{database}.dump").is_file():
            raise UserError(f"{source / database}.dump: is missing; this backup cannot be restored.")
    client = s3_client(stack)
    for key, entry in listing.items():  # objects first, for the same reason as in back_up
        client.upload_file(str(source / "objects" / entry["file"]), BUCKET, key)
    for database in DATABASES:
        _end_connections(stack, database)
        _tool(
            stack,
            "pg_restore",
            "--clean",
            "--if-exists",
            "--single-transaction",
            "-d",
            database,
            str(source / f"{database}.dump"),
        )
    return len(listing)


def _end_connections(stack: Stack, database: str) -> None:
    connection = connect_database(stack, "postgres")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
    finally:
        connection.close()


def _tool(stack: Stack, name: str, *arguments: str) -> None:
    command = [program(name), "-h", LOOPBACK, "-p", str(stack.ports.postgres), "-U", "mlflow", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **stack.environment()}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}.")
