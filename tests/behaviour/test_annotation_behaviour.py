"""Invariances of labels, and their accuracy on clear cells."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS, OBSM
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import simulated_cells

OURS = [OBS.predicted_labels, OBS.conf_score, OBS.ontology_term]


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


@pytest.fixture
def new_cells() -> AnnData:
    """Cells that the model has not seen."""
    return simulated_cells(150, seed=1)


def annotate(bundle: Bundle, cells: AnnData, folder: Path, batch_cells: int = 64) -> AnnData:
    folder.mkdir(exist_ok=True)
    cells.write_h5ad(folder / "cells.h5ad")
    settings = AnnotationSettings(batch_cells=batch_cells)
    return anndata.read_h5ad(annotate_file(Model(bundle, "model", "1"), folder / "cells.h5ad", folder, settings).output)


def same_labels(left: AnnData, right: AnnData) -> None:
    assert left.obs[OBS.predicted_labels].tolist() == right.obs[OBS.predicted_labels].tolist()
    np.testing.assert_allclose(left.obs[OBS.conf_score], right.obs[OBS.conf_score], atol=1e-5)
    np.testing.assert_allclose(left.obsm[OBSM.embedding], right.obsm[OBSM.embedding], atol=1e-4)


def test_clear_cells_are_labelled_correctly(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    obs = annotate(bundle, new_cells, tmp_path).obs
    right = obs[OBS.predicted_labels].astype(str) == obs[OBS.cell_type].astype(str)
    assert right.mean() > 0.9
    assert right.groupby(obs[OBS.cell_type], observed=True).mean().min() > 0.8


def test_gene_order_does_not_matter(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    shuffled = new_cells[:, np.random.default_rng(0).permutation(new_cells.n_vars)].copy()
    same_labels(annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, shuffled, tmp_path / "b"))


def test_reversed_genes_do_not_matter(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    same_labels(
        annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, new_cells[:, ::-1].copy(), tmp_path / "b")
    )


def test_a_subset_of_the_genes_gives_nearly_all_cells_the_same_label(
    bundle: Bundle, new_cells: AnnData, tmp_path: Path
) -> None:
    """Genes that were not measured are filled in with averages: zeros would be evidence against some cell types."""
    part = new_cells[:, [gene for index, gene in enumerate(new_cells.var_names) if index not in (1, 6, 17)]].copy()
    whole, fewer = annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, part, tmp_path / "b")
    assert (whole.obs[OBS.predicted_labels].to_numpy() == fewer.obs[OBS.predicted_labels].to_numpy()).mean() >= 0.95
    shown = new_cells.copy()
    counts = shown.X.toarray()
    counts[:, [1, 6, 17]] = 0
    shown.X = sparse.csr_matrix(counts)
    zeros = annotate(bundle, shown, tmp_path / "c")  # a measured zero is different
    assert not np.allclose(zeros.obs[OBS.conf_score], fewer.obs[OBS.conf_score])


def test_other_depth_and_capture_keep_most_labels(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = {}
    for name, change in (
        ("depth", lambda counts: rng.binomial(counts.astype(int), 0.5)),
        ("capture", lambda counts: rng.poisson(counts * np.exp(rng.normal(0, 0.5, counts.shape[1])))),
        ("ambient", lambda counts: counts + rng.poisson(0.2 * counts.mean(axis=0), counts.shape)),
    ):
        other = AnnData(sparse.csr_matrix(change(new_cells.X.toarray()).astype(np.float32)), var=new_cells.var.copy())
        other.obs[OBS.library_size] = np.asarray(other.X.sum(axis=1)).ravel() + 100.0
        labels = annotate(bundle, other, tmp_path / name).obs[OBS.predicted_labels].astype(str).to_numpy()
        right[name] = (labels == new_cells.obs[OBS.cell_type].astype(str).to_numpy()).mean()
    assert min(right.values()) > 0.8, right


def test_cell_order_does_not_matter(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(new_cells.n_obs)
    plain = annotate(bundle, new_cells, tmp_path / "a")
    same_labels(plain[order], annotate(bundle, new_cells[order].copy(), tmp_path / "b"))


def test_genes_outside_the_panel_do_not_matter(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    extra = sparse.csr_matrix(np.random.default_rng(0).poisson(0.1, (new_cells.n_obs, 50)).astype(np.float32))
    more = AnnData(
        sparse.hstack([extra, new_cells.X], format="csr"),
        obs=new_cells.obs,
        var=pd.DataFrame(index=[f"EXTRA{index}" for index in range(50)] + list(new_cells.var_names)),
    )
    same_labels(annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, more, tmp_path / "b"))


def test_a_deeper_sequenced_cell_keeps_its_label(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    deeper = new_cells.copy()
    deeper.X = deeper.X * 2
    deeper.obs[OBS.library_size] *= 2
    same_labels(annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, deeper, tmp_path / "b"))


def test_markers_of_a_type_make_it_likelier(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    alpha = new_cells[new_cells.obs[OBS.cell_type] == "alpha"].copy()
    counts = alpha.X.toarray()
    counts[:, :8] *= 0
    fewer = alpha.copy()
    fewer.X = sparse.csr_matrix(counts)
    with_markers = (annotate(bundle, alpha, tmp_path / "a").obs[OBS.predicted_labels] == "alpha").mean()
    without = (annotate(bundle, fewer, tmp_path / "b").obs[OBS.predicted_labels] == "alpha").mean()
    assert with_markers > without + 0.3


def test_the_batch_size_does_not_matter(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    plain = annotate(bundle, new_cells, tmp_path / "all", 1000)
    for batch_cells in (1, 7, 64):
        same_labels(plain, annotate(bundle, new_cells, tmp_path / str(batch_cells), batch_cells))


def test_two_runs_give_the_same_bytes(bundle: Bundle, new_cells: AnnData, tmp_path: Path) -> None:
    left, right = annotate(bundle, new_cells, tmp_path / "a"), annotate(bundle, new_cells, tmp_path / "b")
    pd.testing.assert_frame_equal(left.obs[OURS], right.obs[OURS], check_exact=True)
    assert left.obsm[OBSM.embedding].tobytes() == right.obsm[OBSM.embedding].tobytes()
