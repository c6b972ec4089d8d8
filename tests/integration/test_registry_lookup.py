"""A version of a SQLite store is found without MLflow, and is the one that MLflow's client finds."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from anndata import AnnData
from mlflow import MlflowClient

from sctransformer.errors import UserError
from sctransformer.registry.lookup import SCHEMAS, look_up
from sctransformer.registry.models import resolve
from sctransformer.registry.opening import open_model
from sctransformer.registry.references import parse_reference
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking.location import DATABASE


@pytest.fixture
def registered(store: MlflowClient, bundle_folder: Path) -> MlflowClient:
    register_bundle(bundle_folder, "celltype")
    return store


def test_it_is_the_version_that_the_client_finds(registered: MlflowClient) -> None:
    for reference in ("celltype@candidate", "celltype/1", "celltype/candidate"):
        found, asked = look_up(parse_reference(reference)), resolve(reference)
        assert found is not None, f"add the schema of this MLflow to {SCHEMAS}, after a look at what changed"
        opened = found.open()
        assert (opened.folder, opened.name, opened.version, opened.tags) == (
            asked.folder,
            asked.name,
            asked.version,
            asked.tags,
        )
        assert found.location == registered.get_model_version_download_uri("celltype", "1")


def test_a_model_is_named_in_messages_as_it_was_opened(registered: MlflowClient, bundle_folder: Path) -> None:
    assert open_model("celltype@candidate").bundle.shown == "celltype@candidate"
    assert open_model(bundle_folder).bundle.shown == str(bundle_folder)


def test_what_does_not_exist_is_reported_by_the_client(registered: MlflowClient) -> None:
    for reference, message in (
        ("celltype@champion", r"no alias 'champion' \(aliases: candidate = 1\)"),
        ("celltype@latest", "no alias 'latest'"),
        ("celltype/2", r"no version 2 \(versions: 1\)"),
        ("other/1", "has no model 'other'"),
    ):
        assert look_up(parse_reference(reference)) is None
        with pytest.raises(UserError, match=message):
            open_model(reference)
    registered.delete_model_version("celltype", "1")
    assert look_up(parse_reference("celltype/1")) is None
    assert look_up(parse_reference("celltype@candidate")) is None


def test_an_alias_is_read_each_time(registered: MlflowClient, bundle_folder: Path) -> None:
    registered.copy_model_version("models:/celltype/1", "celltype")
    registered.set_registered_model_alias("celltype", "candidate", "2")
    found = look_up(parse_reference("celltype@candidate"))
    assert found is not None
    assert found.version == 2


@pytest.mark.parametrize(
    "change",
    ["UPDATE alembic_version SET version_num = 'later'", "ALTER TABLE model_version_tags RENAME COLUMN value TO text"],
)
def test_another_schema_is_left_to_the_client(registered: MlflowClient, project: Path, change: str) -> None:
    with closing(sqlite3.connect(project / DATABASE)) as database, database:
        database.execute(change)
    assert look_up(parse_reference("celltype@candidate")) is None


@pytest.mark.slow
def test_annotate_labels_cells_of_a_registered_model_without_mlflow(
    registered: MlflowClient, project: Path, cells: AnnData
) -> None:
    cells.write_h5ad(project / "cells.h5ad")
    program = (
        "import sys; sys.modules['mlflow'] = None; from sctransformer.cli.main import run; "
        "run(['annotate', '-i', 'cells.h5ad', '-m', 'celltype@candidate', '-o', 'out'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "out" / "cells_annotated.h5ad").is_file()
