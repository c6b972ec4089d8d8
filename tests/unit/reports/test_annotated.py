"""The report of an annotated file: what it takes from the file, and what it asks for."""

from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData

from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.reports import annotated as module
from sctransformer.reports.annotated import report_of_file
from tests.conftest import simulated_cells
from tests.unit.reports.cells import EVIDENCE, N_CELLS, annotated_cells


@pytest.fixture
def cells(bundle: Bundle) -> AnnData:
    return annotated_cells(bundle)


def written(cells: AnnData, folder: Path) -> Path:
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def test_a_report_has_the_cells_of_the_file_with_their_columns(cells: AnnData, tmp_path: Path) -> None:
    found = report_of_file(written(cells, tmp_path)).cells
    assert found is not None
    assert (found.names, found.total) == (cells.obs_names.tolist(), N_CELLS)
    assert {*found.groupings} >= {OBS.predicted_labels, OBS.raw_labels, OBS.cell_type, "condition"}
    label = found.groupings[OBS.predicted_labels]
    assert [label.names[code] for code in label.code_N] == cells.obs[OBS.predicted_labels].astype(str).tolist()
    np.testing.assert_array_equal(found.values[OBS.conf_score].value_N, cells.obs[OBS.conf_score])
    assert found.values[OBS.conf_score].limit == pytest.approx(0.3)
    np.testing.assert_array_equal(found.activity_NR, cells.obsm[OBSM.regulators])


def test_means_are_of_all_cells_of_a_label(cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 7)  # several parts
    monkeypatch.setattr(module, "MOST_CELLS", 10)  # fewer are on the map
    cells.obsm[OBSM.regulators][3, 0] = np.nan
    report = report_of_file(written(cells, tmp_path))
    assert report.cells is not None
    assert report.regulators is not None
    assert (len(report.cells.names), report.cells.total) == (10, N_CELLS)
    for name, mean_R in zip(report.regulators.types, report.regulators.mean_CR, strict=True):
        label, count = name.rsplit(" ", 1)
        inside_N = (cells.obs[OBS.predicted_labels] == label).to_numpy()
        assert count == f"({inside_N.sum()})"
        np.testing.assert_allclose(mean_R, np.nanmean(cells.obsm[OBSM.regulators][inside_N], axis=0), rtol=1e-5)


def test_targets_come_from_the_model_that_labelled_the_file(cells: AnnData, bundle: Bundle, tmp_path: Path) -> None:
    regulators = report_of_file(written(cells, tmp_path)).regulators
    assert regulators is not None
    assert regulators.edges is not None
    own = regulators.edges[regulators.edges["regulator"] == "GENE1"]
    assert set(own["target"]) == set(bundle.prior.loc[bundle.prior["regulator"] == "GENE1", "target"])
    assert regulators.evidence_R is not None
    assert dict(zip(regulators.names, regulators.evidence_R.tolist(), strict=True)) == EVIDENCE


def test_a_file_without_activities_gives_the_rest_and_a_sentence(bundle: Bundle, tmp_path: Path) -> None:
    report = report_of_file(written(annotated_cells(bundle, "top"), tmp_path))
    assert report.cells is not None
    assert report.regulators is None
    assert any("--regulators all" in note for note in report.notes)


def test_a_file_whose_model_is_gone_gives_the_rest_and_a_sentence(cells: AnnData, tmp_path: Path) -> None:
    cells.uns[UNS.annotation]["model"] = "nowhere/bundle"
    report = report_of_file(written(cells, tmp_path))
    assert report.regulators is not None
    assert report.regulators.edges is None
    assert any("--model" in note for note in report.notes)


def test_another_model_than_that_of_the_file_is_refused(
    cells: AnnData, bundle_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    path = written(cells, tmp_path)
    assert report_of_file(path, str(bundle.folder)).regulators is not None
    with pytest.raises(UserError, match="is not the model that labelled this file"):
        report_of_file(path, str(bundle_folder))


def test_a_file_without_annotation_or_cells_is_refused_in_one_sentence(cells: AnnData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not annotated \(obs has no column 'predicted_labels'\); annotate it"):
        report_of_file(written(simulated_cells(), tmp_path))
    with pytest.raises(UserError, match="has no cells"):
        report_of_file(written(cells[:0].copy(), tmp_path))
    del cells.obsm[OBSM.embedding]
    with pytest.raises(UserError, match=r"has no embedding \(obsm\['X_sctransformer'\]\)"):
        report_of_file(written(cells, tmp_path))
    (tmp_path / "empty.h5ad").write_bytes(b"")
    with pytest.raises(UserError, match="it is empty"):
        report_of_file(tmp_path / "empty.h5ad")


def test_positions_of_the_file_are_kept(cells: AnnData, tmp_path: Path) -> None:
    cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(N_CELLS, 2)).astype(np.float32)
    found = report_of_file(written(cells, tmp_path)).cells
    assert found is not None
    np.testing.assert_array_equal(found.position_N2, cells.obsm["X_umap"])
    assert found.position_source == "obsm['X_umap'] of the file"


def test_a_zarr_folder_is_read_as_a_file(cells: AnnData, tmp_path: Path) -> None:
    cells.write_zarr(tmp_path / "cells.zarr")
    found = report_of_file(tmp_path / "cells.zarr").cells
    assert found is not None
    assert found.names == cells.obs_names.tolist()
