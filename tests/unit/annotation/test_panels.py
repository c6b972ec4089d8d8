"""Cells of joined panels, and cells of another species with human gene names, before they are scored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from sctransformer.annotation.model import Model
from sctransformer.annotation.reading import CheckedCells, check_cells
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from tests.conftest import GENES, simulated_cells

SETTINGS = AnnotationSettings(min_coverage=0.0)


@pytest.fixture(scope="module")
def model(bundle_folder: Path) -> Model:
    return Model(read_bundle(bundle_folder), "a bundle", "unregistered")


def joined() -> tuple[AnnData, np.ndarray, np.ndarray]:
    """Cells of two panels, of which one lacks genes; the cells that lack them, and the genes that they have."""
    cells = simulated_cells(600)
    counts = cells.X.toarray()
    often = np.argsort(-counts.mean(axis=0))[2:12]
    is_half_N = np.random.default_rng(0).random(600) < 0.5
    counts[np.ix_(is_half_N, often)] = 0
    cells.X = counts
    cells.obs["kit"] = np.where(is_half_N, "half", "full")
    return cells, is_half_N, np.setdiff1d(np.arange(len(GENES)), often)


@pytest.mark.parametrize("with_column", [True, False])
def test_labels_of_a_panel_are_those_of_a_file_of_its_own(model: Model, with_column: bool) -> None:
    cells, is_half_N, kept = joined()
    if not with_column:
        del cells.obs["kit"]
    read, labels = model.label(cells, SETTINGS)
    assert [("kit" in note, "not measured" in note) for note in read.notes] == [(with_column, True)]
    assert (labels.panel_N >= 0).tolist() == is_half_N.tolist()
    parts = {True: cells[is_half_N][:, kept].copy(), False: cells[~is_half_N].copy()}
    for is_half, part in parts.items():
        own_read, own = model.label(part, SETTINGS)
        rows_N = is_half_N == is_half
        np.testing.assert_allclose(labels.probabilities_NC[rows_N], own.probabilities_NC, atol=1e-5)
        calls, own_calls = labels.calls(model.limits(read, SETTINGS)), own.calls(model.limits(own_read, SETTINGS))
        assert calls.label_N[rows_N].tolist() == own_calls.label_N.tolist()


def test_absent_genes_as_zero_are_zero_in_panels_too(model: Model) -> None:
    cells, is_half_N, _ = joined()
    zeros = AnnotationSettings(min_coverage=0.0, absent_genes="zero")
    _, labels = model.label(cells, zeros)
    _, alone = model.label(cells[is_half_N].copy(), zeros)
    np.testing.assert_allclose(labels.probabilities_NC[is_half_N], alone.probabilities_NC, atol=1e-5)


def test_a_panel_with_too_few_genes_is_refused(model: Model) -> None:
    cells, _, _ = joined()
    with pytest.raises(UserError, match=r"half\) have no count of 10 genes .*; the other genes cover .*--min-coverage"):
        model.label(cells, AnnotationSettings(min_coverage=0.99))


def test_measurements_with_the_same_genes_in_all_cells_are_refused(model: Model) -> None:
    cells, _, _ = joined()
    with pytest.raises(UserError, match="cells of several panels are joined"):
        model.explain_cells(cells, cells.obs_names[0], min_coverage=0.0)


def with_hla(mouse: int) -> CheckedCells:
    """200 cells, of which the first have no count of HLA genes."""
    names = ["HLA-A", "HLA-B", "HLA-C", "B2M", "CD3D", "ACTB"]
    counts = np.random.default_rng(0).poisson([8, 9, 5, 40, 2, 20], (200, 6)).astype(np.float32)
    counts[:mouse, :3] = 0
    adata = AnnData(counts, obs=pd.DataFrame(index=[f"c{row}" for row in range(200)]), var=pd.DataFrame(index=names))
    return check_cells(AnnDataCells(adata, "X"), pd.DataFrame({"gene": names, "mean": 1.0}))


def test_cells_without_hla_genes_are_read_as_cells_without_counts() -> None:
    read = with_hla(60)
    assert read.notes[0].startswith("30% of the cells with counts of B2M or CD74 have no count of any HLA gene")
    (chunk,) = read.chunks(200)
    assert (np.diff(chunk.counts_NG.indptr) > 0).tolist() == [False] * 60 + [True] * 140
    assert with_hla(0).notes == []


def test_a_file_of_cells_without_hla_genes_is_refused() -> None:
    with pytest.raises(UserError, match=r"200 of 200 cells .* no count of any HLA gene, so they are of another"):
        with_hla(200)


def test_mouse_genes_in_capitals_without_hla_genes_are_refused() -> None:
    names = ["H2-K1", "GM10076", "LYZ2", "CD3D", "ACTB"]
    cells = AnnData(np.ones((3, 5), np.float32), var=pd.DataFrame(index=names))
    with pytest.raises(UserError, match="H2-K1, GM10076, LYZ2, which only mice have, and no HLA gene"):
        check_cells(AnnDataCells(cells, "X"), pd.DataFrame({"gene": names[3:], "mean": 1.0}))
