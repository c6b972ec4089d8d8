"""A real SQLite store for each test; it is made once and copied, because making one takes seconds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sctransformer.tracking.store import DATABASE, connect


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / DATABASE
    MlflowClient(f"sqlite:///{file}")
    return file


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
