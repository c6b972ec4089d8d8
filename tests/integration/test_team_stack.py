"""A team's services when they are shared, gone or put back: MLflow with passwords, PostgreSQL, an S3 store.

They are those of `make stack`, started here on free ports. The whole workflow on them is in test_own_data.
"""

import itertools
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from infra.stack.backup import back_up, restore
from infra.stack.processes import program, stop
from infra.stack.services import (
    health,
    s3_client,
    start_mlflow,
    start_postgres,
    start_s3,
    stop_postgres,
)
from infra.stack.settings import BUCKET, Ports, Stack
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry import doctor, history, promotion
from sctransformer.registry.models import resolve
from sctransformer.registry.policy import Policy
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking.store import connect
from tests.children import ended, forked
from tests.conftest import GENES, LABELS, labelled_test_cells, simulated_cells
from tests.integration.processes import die_before
from tests.integration.test_registry_models import changed

pytestmark = pytest.mark.slow

POLICY = Policy.model_validate({"gates": {"prior_edges": {"minimum": 10}}})
CELLS = Path("test_cells.h5ad")


@pytest.fixture
def team(stack: Stack, project: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The services, as a person has them in the environment."""
    for name, value in stack.client_environment().items():
        monkeypatch.setenv(name, value)
    labelled_test_cells().write_h5ad(project / CELLS)
    return stack


def test_without_a_password_nobody_is_let_in(team: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{team.url}/api/2.0/mlflow/registered-models/search", timeout=60)
    assert (team.folder / "secrets.env").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def versions(stack: Stack, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> str:
    """The name of a model with three versions, of which one is champion; registering takes seconds each."""
    name, folder = "celltype", tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable, value in stack.client_environment().items():
            patch.setenv(variable, value)
        register_bundle(bundle_folder, name)
        for number in (2, 3):
            calibration = {"rejection_threshold": 0.5 + number / 100}
            register_bundle(changed(bundle_folder, folder / f"b{number}", calibration=calibration), name)
        promotion.promote(f"{name}/1", policy=POLICY, first=True)
    return name


def champion(name: str) -> int:
    return int(connect().get_registered_model(name).aliases["champion"])


def rivals_of(name: str) -> list[int]:
    """The versions that are not champion."""
    now = champion(name)
    return [version for version in (1, 2, 3) if version != now]


def test_promotions_at_once_and_killed_ones(team: Stack, versions: str, project: Path) -> None:
    def to(version: int) -> None:
        promotion.promote(f"{versions}/{version}", policy=POLICY, cells=CELLS)

    for _ in range(2):
        rivals = rivals_of(versions)
        children = [forked(lambda version=rival: to(version), project) for rival in rivals]  # type: ignore[misc]
        assert [ended(child) for child in children] == [0, 0], [path.read_text() for path in project.glob("error-*")]
        assert champion(versions) in rivals
    decisions = history.decisions_about(versions)
    assert [one.number for one in decisions] == list(range(len(decisions), 0, -1))
    assert all(later.from_version == earlier.to_version for later, earlier in itertools.pairwise(decisions))

    for call in (2, 5):  # with SQLite, every call: see test_registry_decisions
        before, target = champion(versions), rivals_of(versions)[0]

        def dying(call: int = call, target: int = target) -> None:
            die_before(call)
            to(target)

        assert ended(forked(dying, project)) == -9
        assert any(finding.state == "problem" for finding in doctor.examine_registry(versions))
        doctor.examine_registry(versions, repair=True)
        assert champion(versions) == (target if call == 5 else before)
        assert not [finding for finding in doctor.examine_registry(versions) if finding.state == "problem"]


def refused(match: str, work: Callable[..., object], *arguments: object, **options: object) -> None:
    """Check that a command fails with one sentence."""
    with pytest.raises(UserError, match=match) as caught:
        work(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_services_that_are_gone(team: Stack, versions: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is one sentence, nothing is lost, and everything works again when the service is back.

    The MLflow server itself is gone while a backup is restored, below.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "empty-cache"))
    now, rival = champion(versions), rivals_of(versions)[0]
    stop("s3", team.folder)
    assert not health(team)["s3"]
    decided = len(history.decisions_about(versions))
    refused("artifacts cannot be fetched|responds with an error|does not respond", resolve, f"{versions}@champion")
    start_s3(team)
    assert resolve(f"{versions}@champion").version == now

    stop_postgres(team)
    refused("responds with an error", promotion.promote, f"{versions}/{rival}", policy=POLICY, cells=CELLS)
    refused("responds with an error", history.decisions_about, versions)
    start_postgres(team)
    assert len(history.decisions_about(versions)) == decided
    assert all(well for name, well in health(team).items() if name != "ray")


def test_a_changed_byte_in_the_store_and_a_backup_that_is_put_back(
    team: Stack, versions: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache-0"))
    backup = project / "backup"
    now, rival = champion(versions), rivals_of(versions)[0]
    promote_rival = partial(promotion.promote, f"{versions}/{rival}", policy=POLICY, cells=CELLS)
    assert back_up(team, backup) > 10
    with pytest.raises(UserError, match="exists already"):
        back_up(team, backup)

    client = s3_client(team)
    source = connect().get_model_version(versions, str(rival)).source
    location = connect().get_model_version_download_uri(versions, str(rival))
    prefix = location.removeprefix("mlflow-artifacts:/").strip("/")
    (key,) = [
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        for item in page["Contents"]
        if prefix in item["Key"] and item["Key"].endswith("bundle/labels.tsv")
    ]
    assert source
    content = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=content[:-2] + b"x\n")
    decision = promote_rival()
    assert decision.verdict == "refused"
    assert "labels.tsv: does not match its checksum" in decision.gates[0].reason

    connect().delete_registered_model(versions)
    with pytest.raises(UserError, match="has no model"):
        resolve(f"{versions}@champion")
    stop("mlflow", team.folder)
    refused("the MLflow server does not respond", promote_rival)
    assert restore(team, backup) > 10
    start_mlflow(team)
    assert resolve(f"{versions}@champion").version == now
    assert promote_rival().verdict == "promoted"

    first = next((backup / "objects").iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(UserError, match="is missing or damaged"):
        restore(team, backup)


def test_mlflow_models_serve(team: Stack, versions: str, project: Path, bundle_folder: Path) -> None:
    """The champion behind HTTP: counts by gene name, whatever the order; bad input gets a clear error."""
    port = Ports.free().mlflow
    command = [program("mlflow"), "models", "serve", "-m", f"models:/{versions}@champion", "--env-manager", "local"]
    with (project / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not _pinged(port):
            assert server.poll() is None and time.monotonic() < deadline, (project / "serve.log").read_text()[-2000:]
            time.sleep(0.5)
        cells = simulated_cells(6, seed=3)
        columns = list(reversed(GENES))
        rows = cells[:, columns].X.toarray().astype(int).tolist()
        code, answer = _asked(port, columns, rows)
        assert code == 200
        given = [row["predicted_labels"] for row in answer["predictions"]]
        assert set(given) <= set(LABELS)
        assert read_bundle(bundle_folder).labels["name"].tolist() == LABELS
        code, answer = _asked(port, columns, [[0.5, *row[1:]] for row in rows])
        assert code == 400
        assert "not an integer; it looks log-normalised" in answer["message"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=120)


def _pinged(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
            return True
    except OSError:
        return False


def _asked(port: int, columns: list[str], rows: list[list[float]]) -> tuple[int, dict]:
    body = json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
