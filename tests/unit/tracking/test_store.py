"""What a person reads when a store fails: one sentence, which part of it, and no password."""

import re

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DatabaseError, NoSuchModuleError

from sctransformer.errors import UserError
from sctransformer.tracking.store import one_sentence


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "API request to endpoint /api/2.0/x failed with error code 500 != 200. Response body: 'oh'",
            r"responds with an error \(error code 500\); its database or artifact store may be down",
        ),
        (
            "API request to http://a/b failed with exception Max retries (Caused by too many 503 error responses)",
            r"responds with an error \(too many 503 error responses\); its database or artifact store may be down",
        ),
        (
            "API request to endpoint /api/2.0/x failed with error code 401 != 200",
            r"denies access \(error code 401\); set MLFLOW_TRACKING_USERNAME",
        ),
        (
            "API request to http://a/b failed with exception Max retries: Connection refused",
            r"does not respond \(Connection refused\); start it",
        ),
        (
            '(psycopg2.OperationalError) connection to server at "a" failed\n\tIs the server running?',
            "the database does not respond",
        ),
        (
            "The following failures occurred while downloading one or more artifacts from x:\n##### File y",
            "artifacts cannot be fetched; their store may be down",
        ),
        ("something else\nwith a second line", r"mlflow\.db: something else$"),
    ],
)
def test_sentences(message: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert re.search(expected, sentence_for(MlflowException(message)))


@pytest.mark.parametrize(
    ("uri", "error", "expected"),
    [
        (
            "sqlite:///cut.db",
            DatabaseError("SELECT\nname", {}, Exception("database disk image is malformed")),
            r"cut\.db: the database cannot be used \(database disk image is malformed\); .*: restore it from a backup",
        ),
        (
            "postgresql://eva:secret@db/x",
            NoSuchModuleError("Can't load plugin: x"),
            r"^postgresql://\*\*\*@db/x: the database cannot be used \(Can't load plugin: x\); look at its log",
        ),
        (
            "postgresql://eva:secret@db/x",
            ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2"),
            r"^postgresql://\*\*\*@db/x: this store needs the package 'psycopg2'; install it here\.$",
        ),
    ],
)
def test_databases_and_their_drivers(
    uri: str, error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert re.search(expected, sentence_for(error))


def test_what_is_our_own_mistake_is_not_the_store_s() -> None:
    with pytest.raises(ZeroDivisionError):
        one_sentence(lambda: 1 / 0)()


def sentence_for(error: Exception) -> str:
    @one_sentence
    def failing() -> None:
        raise error

    with pytest.raises(UserError) as caught:
        failing()
    assert "\n" not in str(caught.value)
    return str(caught.value)
