"""The services of the stack: setting up, starting, checking and stopping each."""

import os
import pwd
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import psycopg2
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.stack.processes import program, responds, running, start, stop
from infra.stack.settings import BUCKET, DATABASES, LOOPBACK, Stack
from sctransformer.errors import UserError

ORDER = ("postgres", "s3", "mlflow", "ray")
"""In order of start: each needs the ones before it."""


def up(stack: Stack, services: Sequence[str] = ORDER) -> None:
    """Start the services that are not running, in order, each after the one before it responds.

    Raises:
        UserError: a program is not installed, or a service does not start; services started before keep running.
    """
    starters = {"postgres": start_postgres, "s3": start_s3, "mlflow": start_mlflow, "ray": start_ray}
    for name in services:
        starters[name](stack)


def down(stack: Stack) -> list[str]:
    """Stop all services in reverse order; names of those that were running."""
    stopped = []
    for name in reversed(ORDER):
        stopper = {"postgres": stop_postgres, "ray": stop_ray}.get(name)
        if stopper(stack) if stopper else stop(name, stack.folder):
            stopped.append(name)
    return stopped


def health(stack: Stack) -> dict[str, bool]:
    """Whether each service responds now."""
    return {
        "postgres": _postgres_responds(stack),
        "s3": s3_responds(stack),
        "mlflow": responds(f"{stack.url}/health"),
        "ray": running("ray", stack.folder) is not None,
    }


def start_postgres(stack: Stack) -> None:
    """PostgreSQL on loopback, with password authentication; databases for the MLflow server and its users."""
    folder = stack.folder / "postgres"
    if not (folder / "PG_VERSION").exists():
        _own_by_postgres(folder)
        password = stack.folder / "postgres.pw"
        password.touch(0o600)
        password.write_text(stack.secrets["STACK_POSTGRES_PASSWORD"])
        _hand_over(password)
        try:
            _as_postgres(
                [program("initdb"), "-D", str(folder), "-U", "mlflow", f"--pwfile={password}", "-A", "scram-sha-256"]
            )
        finally:
            password.unlink()
    if not _postgres_responds(stack):
        options = f"-c listen_addresses={LOOPBACK} -p {stack.ports.postgres} -c unix_socket_directories={folder}"
        log = str(folder / "server.log")
        _as_postgres([program("pg_ctl"), "-D", str(folder), "-l", log, "-w", "-o", options, "start"])
    for database in DATABASES:
        _create_database(stack, database)


def stop_postgres(stack: Stack) -> bool:
    """Stop PostgreSQL; its data are kept."""
    folder = stack.folder / "postgres"
    if not (folder / "postmaster.pid").exists():
        return False
    _as_postgres([program("pg_ctl"), "-D", str(folder), "-m", "fast", "-w", "stop"])
    return True


def start_s3(stack: Stack) -> None:
    """JuiceFS gateway: an S3 API over local files, with one bucket."""
    folder = stack.folder / "s3"
    meta = f"sqlite3://{folder / 'meta.db'}"
    environment = stack.environment()
    if not (folder / "meta.db").exists():
        objects = folder / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        _run([program("juicefs"), "format", "--storage", "file", "--bucket", f"{objects}/", meta, BUCKET], environment)
    command = [program("juicefs"), "gateway", "--no-usage-report", "--no-banner", "--log", str(folder / "gateway.log")]
    command += ["--cache-dir", str(folder / "cache"), meta, f"{LOOPBACK}:{stack.ports.s3}"]
    start("s3", command, stack.folder, environment, lambda: s3_responds(stack))


def start_mlflow(stack: Stack) -> None:
    """The MLflow server: users log in, and artifacts go through the server to the store."""
    ini = stack.folder / "basic_auth.ini"
    ini.write_text(
        "[mlflow]\n"
        "# Everybody in the team may register, promote and roll back; restrict this with MLflow's permission API.\n"
        f"default_permission = MANAGE\ndatabase_uri = {stack.database_uri('mlflow_auth')}\n"
        "# Passwords are cached for a minute instead of being hashed on every request; an old one works that long.\n"
        "auth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    command = [program("mlflow"), "server", "--app-name", "basic-auth", "--host", LOOPBACK, "--workers", "2"]
    command += ["--port", str(stack.ports.mlflow), "--artifacts-destination", f"s3://{BUCKET}/artifacts"]
    # jobs evaluate language models: six more processes that are not needed here
    environment = stack.environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    start("mlflow", command, stack.folder, environment, lambda: responds(f"{stack.url}/health"))


def start_ray(stack: Stack) -> None:
    """A Ray head that is also a worker."""
    command = [program("ray"), "start", "--head", "--block", "--disable-usage-stats", "--node-ip-address", LOOPBACK]
    command += ["--port", str(stack.ports.ray), "--dashboard-host", LOOPBACK]
    command += ["--dashboard-port", str(stack.ports.ray_dashboard), "--include-dashboard", "true"]
    url = f"http://{LOOPBACK}:{stack.ports.ray_dashboard}/api/version"
    start("ray", command, stack.folder, stack.environment(), lambda: responds(url))


def stop_ray(stack: Stack) -> bool:
    """Stop the Ray head of this stack; other clusters on this machine keep running."""
    return stop("ray", stack.folder)


def s3_client(stack: Stack) -> Any:
    """A client of the store; boto3 creates its class at run time."""
    environment = stack.environment()
    return boto3.client(
        "s3",
        endpoint_url=stack.s3_url,
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=3, read_timeout=60, retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
    )


def s3_responds(stack: Stack) -> bool:
    """Whether the bucket exists."""
    try:
        s3_client(stack).head_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError):
        return False
    return True


def connect_database(stack: Stack, database: str) -> "psycopg2.extensions.connection":
    """A connection to one database."""
    return psycopg2.connect(
        host=LOOPBACK,
        port=stack.ports.postgres,
        user="mlflow",
        password=stack.secrets["STACK_POSTGRES_PASSWORD"],
        dbname=database,
        connect_timeout=3,
    )


def _postgres_responds(stack: Stack) -> bool:
    try:
        connect_database(stack, "postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _create_database(stack: Stack, database: str) -> None:
    connection = connect_database(stack, "postgres")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{database}"')
    finally:
        connection.close()


def _own_by_postgres(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _hand_over(folder)


def _hand_over(path: Path) -> None:
    """Give a path to the user `postgres` if this is root, as whom PostgreSQL refuses to run."""
    if os.geteuid() == 0:
        user = _postgres_user()
        os.chown(path, user.pw_uid, user.pw_gid)


def _postgres_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise UserError("root cannot run PostgreSQL, and there is no user 'postgres'; run as another user.") from error


def _as_postgres(command: Sequence[str]) -> None:
    user = _postgres_user() if os.geteuid() == 0 else None
    _run(command, {}, user)


def _run(command: Sequence[str], environment: dict[str, str], user: pwd.struct_passwd | None = None) -> None:
    started = time.monotonic()
    done = subprocess.run(  # pg_ctl starts a server that would keep a pipe open
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if "pg_ctl" not in command[0] else subprocess.DEVNULL,
        env={**os.environ, **environment},
        cwd="/",
        check=False,
        user=None if user is None else user.pw_uid,
        group=None if user is None else user.pw_gid,
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        lines = (done.stderr or b"").decode(errors="replace").strip().splitlines()
        message = lines[-1] if lines else f"exit code {done.returncode} after {time.monotonic() - started:.0f} s"
        raise UserError(f"{Path(command[0]).name} failed: {message}.")
