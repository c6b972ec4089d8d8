"""Folder, ports and secrets of the stack: from the environment, or generated once and kept private."""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from sctransformer.errors import UserError

LOOPBACK = "127.0.0.1"
BUCKET = "sctransformer"
DATABASES = ("mlflow", "mlflow_auth")
SECRETS = (
    "STACK_POSTGRES_PASSWORD",
    "STACK_S3_ACCESS_KEY",
    "STACK_S3_SECRET_KEY",
    "STACK_ADMIN_PASSWORD",
    "STACK_FLASK_SECRET_KEY",
)
"""Environment variables; those that are not set are generated once, in `secrets.env` of the data folder."""


@dataclass(frozen=True)
class Ports:
    """Port of each service, on loopback."""

    postgres: int = 15432
    s3: int = 19000
    mlflow: int = 5000
    ray: int = 16379
    ray_dashboard: int = 18265

    @classmethod
    def free(cls) -> "Ports":
        """Ports that are free now."""
        sockets = [socket.socket() for _ in range(5)]
        try:
            for one in sockets:
                one.bind((LOOPBACK, 0))
            return cls(*(int(one.getsockname()[1]) for one in sockets))
        finally:
            for one in sockets:
                one.close()

    @classmethod
    def from_environment(cls) -> "Ports":
        """The default ports, each overridden by STACK_<NAME>_PORT."""
        default = cls()
        given = {name: os.environ.get(f"STACK_{name.upper()}_PORT") for name in cls.__dataclass_fields__}
        try:
            return cls(**{name: int(text) if text else getattr(default, name) for name, text in given.items()})
        except ValueError as error:
            raise UserError(f"a port of the stack is not a number ({error}); correct STACK_..._PORT.") from error


@dataclass(frozen=True)
class Stack:
    """One stack; it writes only to its folder."""

    folder: Path
    ports: Ports
    secrets: dict[str, str]

    @property
    def url(self) -> str:
        """URL of the MLflow server."""
        return f"http://{LOOPBACK}:{self.ports.mlflow}"

    @property
    def s3_url(self) -> str:
        """URL of the S3 API."""
        return f"http://{LOOPBACK}:{self.ports.s3}"

    def database_uri(self, database: str) -> str:
        """URI for SQLAlchemy. The password is in PGPASSWORD, so that no process list and no file shows it."""
        return f"postgresql+psycopg2://mlflow@{LOOPBACK}:{self.ports.postgres}/{database}"

    def environment(self) -> dict[str, str]:
        """Environment variables for services and clients of PostgreSQL and S3, on top of those of this process."""
        return {
            "PGPASSWORD": self.secrets["STACK_POSTGRES_PASSWORD"],
            "AWS_ACCESS_KEY_ID": self.secrets["STACK_S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["STACK_S3_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": self.s3_url,
            "MINIO_ROOT_USER": self.secrets["STACK_S3_ACCESS_KEY"],
            "MINIO_ROOT_PASSWORD": self.secrets["STACK_S3_SECRET_KEY"],
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "basic_auth.ini"),
            "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.secrets["STACK_ADMIN_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secrets["STACK_FLASK_SECRET_KEY"],
            "MLFLOW_BACKEND_STORE_URI": self.database_uri("mlflow"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def client_environment(self) -> dict[str, str]:
        """Environment variables for users of the stack."""
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.secrets["STACK_ADMIN_PASSWORD"],
        }


def open_stack(folder: Path, ports: Ports | None = None) -> Stack:
    """The stack in a folder, which is created if it does not exist, with secrets readable by the owner only.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Stack(folder, ports or Ports.from_environment(), _secrets(folder / "secrets.env"))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder.") from error


def _secrets(file: Path) -> dict[str, str]:
    kept = dict(line.split("=", 1) for line in file.read_text().splitlines()) if file.exists() else {}
    made = {name: kept.get(name) or secrets.token_urlsafe(24) for name in SECRETS}
    if made != kept:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.writelines(f"{name}={value}\n" for name, value in made.items())
    return {name: os.environ.get(name) or value for name, value in made.items()}
