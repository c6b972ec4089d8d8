"""What a person reads when a store fails: one sentence, which part of it, and no password."""

import pytest
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.tracking.store import one_sentence


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "API request to endpoint /api/2.0/x failed with error code 500 != 200. Response body: 'oh'",
            r"answers, but fails \(error code 500\); its database or artifact store may be down",
        ),
        (
            "API request to endpoint /api/2.0/x failed with error code 401 != 200",
            r"does not let you do that \(error code 401\); set MLFLOW_TRACKING_USERNAME",
        ),
        (
            "API request to http://a/b failed with exception Max retries: Connection refused",
            r"does not answer \(Connection refused\); start it",
        ),
        (
            '(psycopg2.OperationalError) connection to server at "a" failed\n\tIs the server running?',
            "the database does not answer",
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

    @one_sentence
    def failing() -> None:
        raise MlflowException(message)

    with pytest.raises(UserError, match=expected) as caught:
        failing()
    assert "\n" not in str(caught.value)
