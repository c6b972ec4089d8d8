"""The verbs of the registry as a person types them."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import typer
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.cli.doctor import doctor
from sctransformer.cli.history import history
from sctransformer.cli.lineage import lineage
from sctransformer.cli.promote import promote
from sctransformer.cli.register import register
from sctransformer.cli.verify import verify
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from tests.conftest import simulated_cells
from tests.integration.test_registry_models import changed

app = typer.Typer()
for verb in (register, promote, history, verify, lineage, doctor):
    app.command(verb.__name__)(verb)


def typed(*words: str, columns: int = 200) -> Result:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": str(columns)})
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def policy(project: Path) -> str:
    path = project / "policy.yaml"
    path.write_text("gates: {prior_edges: {minimum: 10}}\n")
    return str(path)


def test_from_bundle_to_champion(store: MlflowClient, policy: str, bundle_folder: Path) -> None:
    assert (
        "celltype/1: registered; it is now celltype@candidate."
        in typed("register", "--bundle", str(bundle_folder)).stdout
    )
    assert "celltype/1: was already registered" in typed("register", "--bundle", str(bundle_folder)).stdout
    assert "no decision yet" in typed("history", "celltype").stdout

    shown = typed("promote", "celltype@candidate", "--dry-run", "--policy", policy)
    assert shown.exit_code == 0
    assert "celltype/1 would be promoted; nothing was changed." in shown.stdout
    assert all(word in shown.stdout for word in ("onnx_parity", "no champion yet", "passed", "threshold"))
    with pytest.raises(UserError, match="give --first"):
        typed("promote", "celltype/1", "--policy", policy)
    promoted = typed("promote", "celltype/1", "--first", "--policy", policy, "--reason", "the [first] one")
    assert "celltype/1 is the champion; there was no champion." in promoted.stdout
    assert "is already the champion; nothing was changed" in typed("promote", "celltype/1", "--policy", policy).stdout
    with_table = typed("promote", "celltype@champion", "--dry-run", "--policy", policy)
    assert with_table.exit_code == 1  # there are no test cells here to compare on
    assert "celltype/1 would be refused; failed: champion." in with_table.stdout
    assert "onnx_parity" in with_table.stdout
    ledger = typed("history", "celltype").stdout
    assert "promoted" in ledger
    assert "the [first] one" in ledger


def test_a_failed_gate_is_exit_code_1(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    typed("register", "--bundle", str(bundle_folder), "--name", "small")
    strict = project / "strict.yaml"
    strict.write_text("gates: {prior_edges: {minimum: 1000}}\n")
    for words, verdict in ((["--dry-run"], "would be refused"), (["--first"], "is refused")):
        result = typed("promote", "small/1", "--policy", str(strict), *words)
        assert result.exit_code == 1
        assert f"small/1 {verdict}; failed: prior_edges." in result.stdout
    assert "refused" in typed("history", "small").stdout


def test_history_fits_into_80_columns(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    typed("register", "--bundle", str(bundle_folder))
    policy = project / "lax.yaml"
    policy.write_text("gates: {prior_edges: {minimum: 1000}, shuffled_network: {enabled: false, margin: 0.05}}\n")
    words = ("--policy", "lax.yaml", "--override", "prior_edges", "--reason", "a panel of twenty-four simulated genes")
    shown = typed("promote", "celltype/1", "--first", *words)
    assert "off" in shown.stdout
    lines = typed("history", "celltype", columns=80).stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    shown_text = " ".join(" ".join(lines).split())
    for sentence in (
        "a panel of twenty-four simulated genes",
        "overridden: prior_edges",
        "switched off in lax.yaml: shuffled_network",
    ):
        assert sentence in shown_text


def test_a_store_that_cannot_be_used_hides_no_other_finding(project: Path) -> None:
    result = typed("doctor")
    assert result.exit_code == 1
    assert "ok       onnxruntime: " in result.stdout
    assert f"problem  registry: no registry at {project / 'mlflow.db'}" in result.stdout


def test_verify(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    identity = read_bundle(bundle_folder).identity[:12]
    assert f"every file matches its checksum (identity {identity})" in typed("verify", str(bundle_folder)).stdout
    typed("register", "--bundle", str(bundle_folder))
    assert identity in typed("verify", "celltype/1").stdout
    shutil.copytree(bundle_folder, project / "damaged")
    (project / "damaged" / "labels.tsv").write_text("")
    with pytest.raises(UserError, match=r"labels\.tsv: does not match its checksum"):
        typed("verify", str(project / "damaged"))


@pytest.mark.parametrize("words", [["verify"], ["register", "--bundle"]])
def test_a_bundle_that_cannot_score_is_refused(
    store: MlflowClient, project: Path, bundle_folder: Path, words: list[str]
) -> None:
    unfit = changed(bundle_folder, project / "unfit", config={"embedding": 9})
    with pytest.raises(UserError, match=r"model\.onnx: embedding has the shape cells x 8"):
        typed(*words, str(unfit))


def test_lineage_of_a_bundle_a_model_and_a_labelled_file(
    store: MlflowClient, project: Path, bundle_folder: Path
) -> None:
    expected = read_bundle(bundle_folder).lineage
    assert _json("lineage", str(bundle_folder), "--json") == expected
    typed("register", "--bundle", str(bundle_folder))
    assert _json("lineage", "celltype@candidate", "--json") == {"model": "celltype/1", **expected, "decisions": []}
    assert f"git.commit: {'0' * 40}" in typed("lineage", "celltype/1", "--all").stdout
    assert typed("lineage", "celltype/1").stdout.splitlines() == [
        "model: celltype/1",
        f"code: commit {'0' * 12}, clean",
        f"cells: sha256 {'2' * 12}",
        f"network: sha256 {'3' * 12}",
        "made: 2026-01-01T00:00:00+00:00, by Ada <ada@example.org>",
        "training run: not recorded",
        "decision: none yet",
        "more: --all or --json",
    ]

    simulated_cells(12, seed=2).write_h5ad(project / "cells.h5ad")
    with pytest.raises(UserError, match="was not annotated by sctransformer"):
        typed("lineage", str(project / "cells.h5ad"))
    bundle = read_bundle(bundle_folder)
    output = annotate_file(Model(bundle, "celltype@candidate", "1"), project / "cells.h5ad", project / "out").output
    found = _json("lineage", str(output), "--json")
    assert found["lineage"] == expected
    assert (found["model"], found["decisions"]) == ("celltype/1", [])
    assert found["annotation"]["model_version"] == "1"
    assert found["annotation"]["prior_sha256"] == "3" * 64

    shutil.rmtree(project / "mlartifacts")  # what made the model is still known where its files are gone
    assert _json("lineage", str(output), "--json")["lineage"] == expected
    assert _json("lineage", "celltype/1", "--json")["data_sha256"] == "2" * 64
    typed("register", "--bundle", str(bundle_folder), "--name", "again")
    store.delete_registered_model("celltype")
    assert _json("lineage", str(output), "--json")["lineage"] == expected  # the same bundle under another name
    store.delete_registered_model("again")
    found = _json("lineage", str(output), "--json")
    assert "the registry no longer has celltype/1 (" in found["lineage_not_found"]
    assert "has no model 'celltype'" in found["lineage_not_found"]
    assert {"model", "model_version", "model_identity", "prior_sha256", "job_id", "sctransformer_version"} <= set(
        found["annotation"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["h5ad", "zarr", "parquet"])
def test_lineage_of_every_kind_of_output(
    store: MlflowClient, project: Path, policy: str, bundle_folder: Path, form: str
) -> None:
    typed("register", "--bundle", str(bundle_folder))
    typed("promote", "celltype/1", "--first", "--policy", policy, "--reason", "the first")
    cells, bundle = simulated_cells(12, seed=2), read_bundle(bundle_folder)
    source = project / f"cells.{'zarr' if form == 'zarr' else 'h5ad'}"
    (cells.write_zarr if form == "zarr" else cells.write_h5ad)(source)
    settings = AnnotationSettings(format="parquet" if form == "parquet" else "anndata")
    output = annotate_file(Model(bundle, "celltype@candidate", "1"), source, project / "out", settings).output
    assert output.suffix == f".{form}"
    found = _json("lineage", str(output), "--json")
    assert found["annotation"]["model_identity"] == bundle.identity
    assert found["lineage"] == bundle.lineage
    assert found["decisions"][0].startswith("1: promoted by")
    assert "\ndecision: 1: promoted by" in typed("lineage", str(output)).stdout
    assert "\ndecisions: 1: promoted by" in typed("lineage", str(output), "--all").stdout


def test_lineage_of_what_holds_no_record(project: Path) -> None:
    pd.DataFrame({"cell": ["a"]}).to_parquet(project / "plain.parquet")
    (project / "cut.parquet").write_bytes(b"PAR1 and no more")
    (project / "out.csv").write_text("cell,predicted_labels\n")
    (project / "folder").mkdir()
    for name, message in {
        "plain.parquet": "its schema has no metadata 'sctransformer'",
        "cut.parquet": "is not a readable Parquet file",
        "out.csv": r"is CSV, .*show the model itself .*--format parquet",
        "folder": "is neither a model bundle .* nor a readable zarr folder",
    }.items():
        with pytest.raises(UserError, match=message):
            typed("lineage", str(project / name))


@pytest.mark.parametrize("content", ["text", 3, np.zeros(2), {}, {"model": 3}, {"model": {"name": "x"}}])
def test_an_odd_record_is_refused_in_a_sentence(project: Path, content: object) -> None:
    cells = simulated_cells(6)
    cells.uns["sctransformer"] = content
    cells.write_h5ad(project / "odd.h5ad")
    with pytest.raises(UserError, match="'sctransformer' names no model"):
        typed("lineage", str(project / "odd.h5ad"))


def test_an_odd_place_of_records_is_refused_in_a_sentence(project: Path) -> None:
    simulated_cells(6).write_h5ad(project / "odd.h5ad")
    with h5py.File(project / "odd.h5ad", "r+") as file:
        del file["uns"]
        file["uns"] = 3
    with pytest.raises(UserError, match=r"has no uns\['sctransformer'\]"):
        typed("lineage", str(project / "odd.h5ad"))
    with h5py.File(project / "odd.h5ad", "r+") as file:
        del file["uns"]
        file.create_group("uns/sctransformer").attrs["encoding-type"] = "unheard-of"
    with pytest.raises(UserError, match=r"uns\['sctransformer'\] cannot be read"):
        typed("lineage", str(project / "odd.h5ad"))


def test_lineage_of_what_is_nothing(project: Path) -> None:
    (project / "text.h5ad").write_text("no HDF5")
    with pytest.raises(UserError, match="is not a readable h5ad file"):
        typed("lineage", str(project / "text.h5ad"))
    with pytest.raises(UserError, match="no registry at"):
        typed("lineage", "celltype@champion")
    for verb in ("lineage", "verify"):
        with pytest.raises(UserError, match=r"nothing\.h5ad: no such .*, and not a model reference"):
            typed(verb, "nothing.h5ad")


def _json(*words: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(typed(*words).stdout)
    return content
