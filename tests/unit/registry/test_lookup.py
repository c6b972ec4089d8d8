"""Looking up a version on a server: what is asked, and when MLflow's client has to be asked instead."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from sctransformer.registry.lookup import look_up
from sctransformer.registry.references import parse_reference
from sctransformer.registry.stored_bundle import StoredVersion

LOCATION = "mlflow-artifacts:/1/models/m-1/artifacts"
ANSWERS: dict[str, Any] = {
    "registered-models/get": {
        "registered_model": {"name": "celltype", "aliases": [{"alias": "champion", "version": "7"}]}
    },
    "model-versions/get": {
        "model_version": {"name": "celltype", "version": "7", "tags": [{"key": "who", "value": "Ada"}]}
    },
    "model-versions/get-download-uri": {"artifact_uri": LOCATION},
}


class _Registry(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, dict[str, list[str]], str | None]]] = []
    status: ClassVar[int] = 200
    answers: ClassVar[dict[str, Any]] = ANSWERS

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/api/2.0/mlflow/")
        self.seen.append((path, parse_qs(parts.query), self.headers["Authorization"]))
        self.send_response(self.status)
        self.send_header("Location", "http://elsewhere.example")
        self.end_headers()
        self.wfile.write(json.dumps(self.answers[path]).encode())

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Registry]]:
    handler = type("Registry", (_Registry,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}/")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    yield handler
    server.shutdown()
    server.server_close()


def found(reference: str) -> StoredVersion | None:
    return look_up(parse_reference(reference))


@pytest.mark.parametrize("reference", ["celltype@champion", "celltype/7"])
def test_a_version_is_found_by_alias_or_number(registry: type[_Registry], reference: str) -> None:
    version = found(reference)
    assert version is not None
    assert (str(version), version.tags, version.location) == ("celltype/7", {"who": "Ada"}, LOCATION)
    path, query, _ = registry.seen[-1]
    assert (path, query) == ("model-versions/get-download-uri", {"name": ["celltype"], "version": ["7"]})
    assert len(registry.seen) == 3 if "@" in reference else 2


def test_credentials_are_sent(registry: type[_Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert found("celltype/7") is not None
    assert registry.seen[-1][2] == "Bearer secret"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lace")
    assert found("celltype/7") is not None
    assert registry.seen[-1][2] == "Basic YWRhOmxhY2U="


@pytest.mark.parametrize("status", [302, 401, 404, 500])
def test_any_other_status_leaves_the_question_to_the_client(
    registry: type[_Registry], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(registry, "status", status)
    assert found("celltype@champion") is None
    assert len(registry.seen) == 1


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("registered-models/get", {"registered_model": {"name": "celltype"}}),
        ("registered-models/get", []),
        ("model-versions/get", {"model_version": {"name": "other", "version": "7"}}),
        ("model-versions/get-download-uri", {}),
    ],
)
def test_an_unexpected_answer_leaves_the_question_to_the_client(
    registry: type[_Registry], monkeypatch: pytest.MonkeyPatch, path: str, content: Any
) -> None:
    monkeypatch.setattr(registry, "answers", {**ANSWERS, path: content})
    assert found("celltype@champion") is None


def test_settings_that_only_the_client_knows_leave_the_question_to_it(
    registry: type[_Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert found("celltype/7") is None
    assert registry.seen == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://nowhere/db", "sqlite:///nowhere/mlflow.db"])
def test_a_store_that_does_not_answer_leaves_the_question_to_the_client(
    monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert found("celltype/7") is None
