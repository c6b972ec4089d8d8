"""Novelty in labelled cells: the graph agrees with torch, and cells above the limit are `unknown`, with the reason."""

import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from safetensors.torch import load_file
from scipy import sparse

from sctransformer._constants import BUNDLE, OBS, UNS, VARIANTS
from sctransformer.annotation.limits import limits_for
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.session import ScoringSession
from sctransformer.api import annotate
from sctransformer.errors import UserError
from sctransformer.evaluation.evaluate import calibrated
from sctransformer.evaluation.novelty import fit_novelty
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.export.graph import ScoringGraph, export_onnx
from sctransformer.export.parity import NOVELTY_TOLERANCE, measure_parity
from sctransformer.export.variants import TOLERANCES, make_variant, measure_variant
from sctransformer.files import read_json, sha256_file, write_json
from tests.conftest import GENES, arrays, simulated_cells, small_model


@pytest.fixture(scope="module")
def fitted(bundle_folder: Path) -> tuple[ScoringGraph, dict[str, Any]]:
    """The graph of the bundle, with novelty, and what calibration.json holds about it."""
    model = small_model()
    model.load_state_dict(load_file(bundle_folder / BUNDLE.weights))
    training, validation = arrays(simulated_cells(300)), arrays(simulated_cells(300, seed=1))
    novelty = fit_novelty(training, validation, calibrated(model, 1.0), withheld=0.01, seed=0)
    return ScoringGraph(model, 1.0, novelty.score), novelty.content


@pytest.fixture(scope="module")
def graph(fitted: tuple[ScoringGraph, dict[str, Any]]) -> ScoringGraph:
    return fitted[0]


@pytest.fixture(scope="module")
def folder(
    bundle_folder: Path, fitted: tuple[ScoringGraph, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle with novelty."""
    target = tmp_path_factory.mktemp("novelty") / "bundle"
    shutil.copytree(bundle_folder, target)
    export_onnx(fitted[0], target / BUNDLE.graph, opset=23)
    path = target / BUNDLE.calibration
    write_json(path, read_json(path) | {"novelty": fitted[1]})
    members = sorted(path.name for path in target.iterdir() if path.name != BUNDLE.checksums)
    lines = [f"{sha256_file(target / name)}  {name}\n" for name in members]
    (target / BUNDLE.checksums).write_text("".join(lines))
    return target


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return read_bundle(folder)


def cells_with_new() -> AnnData:
    """60 known cells, then 20 that express the markers of all types."""
    cells = simulated_cells(80, seed=2)
    counts_NG = cells.X.toarray()
    counts_NG[60:] = np.random.default_rng(0).poisson(6.0, (20, len(GENES)))
    cells.X = sparse.csr_matrix(counts_NG)
    cells.obs[OBS.library_size] = counts_NG.sum(axis=1) + 100.0
    return cells


def test_onnxruntime_and_torch_agree_on_novelty(graph: ScoringGraph, folder: Path) -> None:
    found = measure_parity(graph, folder / BUNDLE.graph, arrays(simulated_cells(100, seed=3)), 1e-5)
    assert found["passed"]
    assert found["max_novelty_difference"] < NOVELTY_TOLERANCE / 10


@pytest.mark.parametrize("kind", list(VARIANTS))
def test_variants_keep_novelty_in_float32(graph: ScoringGraph, folder: Path, tmp_path: Path, kind: str) -> None:
    make_variant(kind, folder / BUNDLE.graph, tmp_path / VARIANTS[kind], graph.model.config)
    cells = arrays(simulated_cells(100, seed=3))
    found = measure_variant(folder / BUNDLE.graph, tmp_path / VARIANTS[kind], cells, TOLERANCES[kind])
    assert "error" not in found, found
    assert found["max_novelty_difference"] < 0.3  # the probabilities differ a little


def test_new_cells_are_unknown_with_the_reason_and_keep_their_best_label(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = cells_with_new()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    summary = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out")
    assert "of the cells are unlike the training cells (novel)" in caplog.text
    result = anndata.read_h5ad(summary.output)
    is_new_N = np.arange(80) >= 60
    assert (result.obs[OBS.reason][is_new_N] == "novel").mean() > 0.9
    assert (result.obs[OBS.reason][~is_new_N] == "novel").mean() < 0.1
    assert (result.obs[OBS.predicted_labels][is_new_N] == "unknown").mean() > 0.9
    assert set(result.obs[OBS.raw_labels]) <= {"alpha", "beta", "gamma"}
    assert result.obs[OBS.novelty].dtype == np.float32
    described = result.uns[UNS.annotation]
    assert described["novelty_threshold"] == pytest.approx(summary.novelty_threshold)
    assert described["novelty_note"] == "threshold for 100% of the panel's genes"
    assert summary.rejected_by["novel"] == (result.obs[OBS.reason] == "novel").sum()
    in_memory = annotate(cells, Model(bundle, "m", "1"))
    for name in (OBS.predicted_labels, OBS.reason, OBS.novelty):
        assert in_memory.obs[name].astype(str).tolist() == result.obs[name].astype(str).tolist()


def test_few_new_cells_give_no_warning(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    annotate(simulated_cells(60, seed=5), Model(bundle, "m", "1"))
    assert "unlike the training cells" not in caplog.text


def test_new_cells_are_labelled_on_demand(bundle: Bundle) -> None:
    result = annotate(cells_with_new(), Model(bundle, "m", "1"), reject_novel=False)
    assert not (result.obs[OBS.reason] == "novel").any()
    assert result.obs[OBS.novelty].notna().all()
    assert "reject_novel is off" in result.uns[UNS.annotation]["novelty_note"]


def test_a_file_without_some_genes_has_the_threshold_for_its_genes(bundle: Bundle) -> None:
    part = cells_with_new()[:, GENES[:19]].copy()
    result = annotate(part, Model(bundle, "m", "1"), min_coverage=0.0)
    described = result.uns[UNS.annotation]
    assert described["novelty_note"] == "threshold for 79% of the panel's genes, where it finds fewer foreign cells"
    assert described["novelty_threshold"] == pytest.approx(limits_for(bundle.calibration, 19 / 24).novelty)
    few = annotate(cells_with_new()[:, GENES[:6]].copy(), Model(bundle, "m", "1"), min_coverage=0.0)
    assert "not used: 25% of the panel's genes" in few.uns[UNS.annotation]["novelty_note"]
    assert not (few.obs[OBS.reason] == "novel").any()


def test_a_model_without_novelty_has_no_novelty_fields(bundle_folder: Path) -> None:
    result = annotate(cells_with_new(), Model(read_bundle(bundle_folder), "m", "1"))
    assert OBS.novelty not in result.obs
    assert not {"novelty_note", "novelty_threshold"} & set(result.uns[UNS.annotation])


def test_a_graph_without_novelty_does_not_fit_a_calibration_with_it(
    bundle_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.folder, copy)
    shutil.copy(bundle_folder / BUNDLE.graph, copy / BUNDLE.graph)
    damaged = Bundle(**{**vars(bundle), "folder": copy})
    with pytest.raises(UserError, match="has the inputs counts, library_size, expected counts, library_size, mea"):
        ScoringSession(damaged)


def test_limits_are_interpolated_between_fractions_of_genes() -> None:
    rows = [{"measured": 1.0, "threshold": 3.0}, {"measured": 0.5, "threshold": 2.0}]
    calibration = {"rejection_threshold": 0.4, "novelty": {"thresholds": rows}}
    limits = limits_for(calibration, 0.75)
    assert (limits.confidence, limits.novelty) == (0.4, 2.5)
    assert limits_for(calibration, 0.75, threshold=0.6).confidence == 0.6
    assert limits_for(calibration, 0.4).novelty is None
    assert limits_for(calibration, 1.0, reject_novel=False).novelty is None
    old = limits_for({"rejection_threshold": 0.4}, 1.0)
    assert (old.novelty, old.novelty_note) == (None, None)


def test_thresholds_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(folder, copy)
    write_json(copy / BUNDLE.calibration, read_json(copy / BUNDLE.calibration) | {"novelty": {"thresholds": []}})
    members = sorted(path.name for path in copy.iterdir() if path.name != BUNDLE.checksums)
    (copy / BUNDLE.checksums).write_text("".join(f"{sha256_file(copy / name)}  {name}\n" for name in members))
    with pytest.raises(UserError, match=r"calibration\.json: novelty\.thresholds is \[\], expected a list"):
        read_bundle(copy)
