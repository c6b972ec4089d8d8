"""Bundles of a model of activities: written, read, scored, and used from Python."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import sctransformer as sct
from sctransformer._constants import BUNDLE, OBS
from sctransformer.annotation.session import ScoringSession
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.files import sha256_file
from sctransformer.training.build import load_trained_model, save_prior
from tests.conftest import GENES, arrays, simulated_cells
from tests.regulated_cells import edges_of_panel


@pytest.fixture
def new() -> AnnData:
    cells = simulated_cells(70, seed=8)
    cells.obs[OBS.library_size] = np.asarray(cells.X.sum(axis=1)).ravel()
    return cells


def test_the_bundle_has_both_graphs_and_they_agree(activity_bundle: Path) -> None:
    bundle = read_bundle(activity_bundle)
    assert bundle.parity["passed"]
    assert bundle.parity["edges"]["max_activity_difference"] <= 1e-4
    assert bundle.parity["max_activity_difference"] <= 1e-4
    assert bundle.regulators is not None
    assert bundle.regulators["regulator"].tolist() == edges_of_panel().regulators
    assert "OUTSIDE" in bundle.regulators["regulator"].tolist()  # a regulator that is no gene of the panel


def test_a_cpu_scores_along_the_edges(activity_bundle: Path) -> None:
    session = ScoringSession(read_bundle(activity_bundle), threads=1)
    assert session.graph == BUNDLE.edges_graph
    cells = arrays(simulated_cells(5))
    assert session.score(cells.counts_NG, cells.library_size_N).activity_NR.shape == (5, 5)


def test_activities_are_those_of_torch(activity_bundle: Path, new: AnnData, tmp_path: Path) -> None:
    save_prior(edges_of_panel(), tmp_path / "prior.safetensors")
    config = pd.read_json(activity_bundle / BUNDLE.config, typ="series").drop("format")
    config.to_json(tmp_path / "config.json")
    torch_model = load_trained_model(
        tmp_path / "config.json", tmp_path / "prior.safetensors", activity_bundle / BUNDLE.weights
    )
    cells = arrays(new)
    with torch.no_grad():
        expected = torch_model(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))
    model = sct.load_model(activity_bundle)
    found = model.activities(new)
    assert found.index.equals(new.obs_names)
    assert found.columns.tolist() == edges_of_panel().regulators
    np.testing.assert_allclose(found.to_numpy(), expected.activity_NR.numpy(), rtol=1e-4, atol=1e-4)
    expected_N = expected.logits_NC.numpy().argmax(axis=1)
    assert (model.predict_proba(new).to_numpy().argmax(axis=1) == expected_N).all()


def test_weights_of_other_edges_are_refused(activity_bundle: Path, tmp_path: Path) -> None:
    edges = edges_of_panel()
    moved = replace(edges, target_J=edges.target_J[::-1].copy())
    save_prior(moved, tmp_path / "prior.safetensors")
    pd.read_json(activity_bundle / BUNDLE.config, typ="series").drop("format").to_json(tmp_path / "config.json")
    with pytest.raises(UserError, match="was trained on other edges"):
        load_trained_model(tmp_path / "config.json", tmp_path / "prior.safetensors", activity_bundle / BUNDLE.weights)


def test_genes_that_a_file_lacks_are_not_read(activity_bundle: Path, new: AnnData) -> None:
    model, edges = sct.load_model(activity_bundle), edges_of_panel()
    outside = edges.regulators.index("OUTSIDE")
    targets = {GENES[target] for target in edges.target_J[edges.regulator_J == outside]}
    part = new[:, [gene not in targets for gene in GENES]].copy()
    found = model.activities(part, min_coverage=0.0)
    assert found["OUTSIDE"].isna().all()
    assert found.drop(columns="OUTSIDE").notna().all().all()
    assert model.predict_proba(part, min_coverage=0.0).notna().all().all()


def test_annotation_sets_labels(activity_bundle: Path, new: AnnData) -> None:
    truth = new.obs[OBS.cell_type].astype(str)
    model = sct.load_model(activity_bundle)
    assert "activities: of 5 regulators" in repr(model)
    labelled = sct.annotate(new, model, threshold=0.0)
    assert (labelled.obs[OBS.predicted_labels].astype(str) == truth).mean() > 0.9


def test_a_model_without_activities_says_so(bundle_folder: Path, new: AnnData) -> None:
    with pytest.raises(UserError, match="has no activities, because its genes attend to regulators"):
        sct.load_model(bundle_folder).activities(new)


@pytest.mark.parametrize("name", [BUNDLE.edges_graph, BUNDLE.regulators])
def test_a_changed_file_is_refused(activity_bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(activity_bundle, tmp_path / "bundle"))
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(UserError, match=f"{name}: does not match its checksum"):
        read_bundle(copy)


def test_a_table_of_regulators_that_lacks_one_is_refused(activity_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(activity_bundle, tmp_path / "bundle"))
    pd.read_parquet(copy / BUNDLE.regulators).head(4).to_parquet(copy / BUNDLE.regulators, index=False)
    listing = (copy / BUNDLE.checksums).read_text().splitlines()
    listing = [line for line in listing if not line.endswith(f"  {BUNDLE.regulators}")]
    listing.append(f"{sha256_file(copy / BUNDLE.regulators)}  {BUNDLE.regulators}")
    (copy / BUNDLE.checksums).write_text("\n".join(listing) + "\n")
    with pytest.raises(UserError, match=r"holds 4 regulators, but n_regulators in config.json is 5"):
        read_bundle(copy)
