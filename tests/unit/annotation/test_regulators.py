"""Regulators in annotations: which are named for a cell, when an activity is known, and what is written where."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_of
from pyarrow import parquet
from scipy import sparse

import sctransformer as sct
from sctransformer._constants import BEATS_SHUFFLES, OBS, OBSM, UNS
from sctransformer.annotation import pipeline, shards, stream
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.regulators import Regulators, least_targets, regulators_for, strongest
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.writers import write_annotated
from sctransformer.errors import OutputError
from sctransformer.evaluation.profile import Profile
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.registry.provenance import lineage_of_file
from tests.conftest import GENES, LABELS, simulated_cells
from tests.regulated_cells import edges_of_panel

OUTSIDE_TARGETS = GENES[6:12]


@pytest.fixture
def new() -> AnnData:
    cells = simulated_cells(300, seed=8)
    cells.obs[OBS.library_size] = np.asarray(cells.X.sum(axis=1)).ravel()
    return cells


@pytest.fixture(scope="session")
def bundle(activity_bundle: Path) -> Bundle:
    return read_bundle(activity_bundle)


def with_outside_gene(cells: AnnData) -> AnnData:
    """Cells of which the regulator OUTSIDE, which is no gene of the panel, is measured."""
    outside = sparse.csr_matrix((np.arange(cells.n_obs) % 4).astype(np.float32)[:, None])
    var = pd.DataFrame(index=[*cells.var_names, "OUTSIDE"])
    obs = cells.obs.assign(**{OBS.library_size: cells.obs[OBS.library_size] + 3.0})
    return AnnData(sparse.hstack([cells.X, outside], format="csr"), obs=obs, var=var)


def table_of(bundle: Bundle, **columns: Any) -> Bundle:
    """A bundle with other columns in its table of regulators."""
    assert bundle.regulators is not None
    return replace(bundle, regulators=bundle.regulators.assign(**columns))


def regulators_of(model: Model, cells: AnnData, **options: Any) -> Regulators:
    chosen = AnnotationSettings(regulators="all", min_coverage=0.0, **options)
    found = regulators_for(model.bundle, model._read(cells, chosen), chosen)
    assert found is not None
    return found


@given(
    array_of(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 7)),
        elements=st.one_of(st.sampled_from([0.0, 1.0, -1.0, np.nan]), st.floats(-4, 4, width=32)),
    )
)
@settings(max_examples=60, deadline=None)
def test_the_strongest_regulators_are_those_of_a_full_sort(z_NR: np.ndarray) -> None:
    found_N3 = strongest(z_NR, np.abs(z_NR))
    for z_R, found_3 in zip(z_NR, found_N3, strict=True):
        known = [index for index in range(len(z_R)) if abs(z_R[index]) > 0]  # neither NaN nor zero
        expected = sorted(known, key=lambda index: -abs(z_R[index]))[:3]
        signed = [(index + 1) * (1 if z_R[index] > 0 else -1) for index in expected]
        assert found_3.tolist() == [*signed, 0, 0, 0][:3]


def hand_made(**values: Any) -> Regulators:
    """Four regulators and two cell types: A and B are typical of the first, in opposite directions."""
    given: dict[str, Any] = {
        "names": ["A", "B", "C", "D"],
        "targets_R": np.full(4, 9),
        "least_targets": 5,
        "mean_R": np.zeros(4, dtype=np.float32),
        "std_R": np.ones(4, dtype=np.float32),
        "evidence_R": None,
        "typical_CR": np.array([[1, -1, 0, 0], [0, 0, 0, 0]], dtype=np.float32),
        "is_known_C": np.array([True, False]),
        "all_targets_R": np.full(4, 9),
        "own": None,
    }
    return Regulators(**(given | values))


def test_regulators_typical_of_the_label_are_named_if_active_in_its_direction() -> None:
    z_NR = np.array([[1, -2, 9, 8], [-1, 2, 9, 8], [1, -2, -9, 8]], dtype=np.float32)
    regulators = hand_made()
    typical_N3, alone_N3 = regulators.top(z_NR, np.array([0, 0, 1]))
    assert list(regulators.named(alone_N3)) == ["C+ D+ B-", "C+ D+ B+", "C- D+ B-"]
    found = regulators.named(typical_N3)
    assert found[0] == "B- A+"
    assert pd.isna(found[1])  # both are active against the direction of the type
    assert found[2] == "C- D+ B-"  # nothing typical is known of this type


@pytest.mark.parametrize("beaten", [np.nan, 0.0, BEATS_SHUFFLES - 0.01])
def test_regulators_that_do_not_beat_their_shuffles_are_not_named(beaten: float) -> None:
    regulators = hand_made(evidence_R=np.array([beaten, 0.99, BEATS_SHUFFLES, beaten]))
    z_NR = np.array([[1, -2, 3, 8]], dtype=np.float32)
    typical_N3, alone_N3 = regulators.top(z_NR, np.array([0]))
    assert regulators.note == "4 regulators; 2 beat shuffled networks and can be named"
    assert list(regulators.named(alone_N3)) == ["C+ B-"]
    assert list(regulators.named(typical_N3)) == ["B-"]
    np.testing.assert_array_equal(regulators.standardised(z_NR), z_NR)  # activities are written all the same


def test_an_activity_needs_targets_and_spread() -> None:
    regulators = hand_made(
        targets_R=np.array([4, 5, 9, 9]),
        std_R=np.array([1, 2, 0, 1], dtype=np.float32),
        mean_R=np.array([0, 1, 0, 0], dtype=np.float32),
    )
    found_NR = regulators.standardised(np.array([[3, 5, 3, 3]], dtype=np.float32))
    np.testing.assert_array_equal(found_NR, np.array([[np.nan, 2, np.nan, 3]], dtype=np.float32))
    assert found_NR.dtype == np.float32
    assert regulators.note == "4 regulators; 1 without an activity (fewer than 5 measured targets)"
    assert hand_made().note == "4 regulators"


def test_typical_means_half_a_standard_deviation_from_the_mean_of_the_other_labels(
    bundle: Bundle, new: AnnData
) -> None:
    means = {"mean:alpha": [1.0, -1.0, 0.2, 0.0, 0.0], "mean:beta": 0.0, "mean:gamma": [0.0, 0.0, 0.0, 3.0, 0.0]}
    found = regulators_of(Model(table_of(bundle, std=1.0, mean=0.0, **means), "m", "1"), new)
    expected = [[1, -1, 0, -1, 0], [-1, 1, 0, -1, 0], [-1, 1, 0, 1, 0]]
    np.testing.assert_array_equal(found.typical_CR, np.array(expected))
    assert found.is_known_C.all()


def test_a_bundle_without_means_of_types_names_the_strongest_of_all(bundle: Bundle, new: AnnData) -> None:
    assert bundle.regulators is not None
    old = replace(bundle, regulators=bundle.regulators.drop(columns=[f"mean:{label}" for label in LABELS]))
    model = Model(old, "m", "1")
    labelled = sct.annotate(new, model, regulators="all")
    z_NR = labelled.obsm[OBSM.regulators]
    first = [model.bundle.regulators["regulator"][index] for index in np.abs(z_NR).argmax(axis=1)]
    assert [text.split()[0][:-1] for text in labelled.obs[OBS.top_regulators]] == first


def test_unknown_cells_are_named_by_the_strongest_of_all(bundle: Bundle, new: AnnData) -> None:
    table = table_of(bundle, **{f"mean:{label}": 0.0 for label in LABELS})  # nothing is typical
    labelled = sct.annotate(new.copy(), Model(table, "m", "1"), threshold=0.0)
    assert labelled.obs[OBS.top_regulators].isna().all()
    rejected = sct.annotate(new.copy(), Model(table, "m", "1"), threshold=1.0)
    is_unknown = rejected.obs[OBS.predicted_labels] == "unknown"
    assert 100 < is_unknown.sum() < 300
    assert rejected.obs[OBS.top_regulators].notna().equals(is_unknown)


def test_activities_are_in_standard_deviations_of_the_training_cells(bundle: Bundle, new: AnnData) -> None:
    model = Model(bundle, "m", "1")
    labelled = sct.annotate(new, model, regulators="all")
    table, raw = bundle.regulators, model.activities(new)
    assert table is not None
    described = labelled.uns[UNS.annotation]["regulators"]
    assert list(described["name"]) == edges_of_panel().regulators == raw.columns.tolist()
    assert list(described["targets"]) == table["targets"].tolist()
    expected = (raw - table["mean"].to_numpy()) / table["std"].to_numpy()
    np.testing.assert_allclose(labelled.obsm[OBSM.regulators], expected, rtol=1e-5, atol=1e-6)
    assert labelled.obsm[OBSM.regulators].dtype == labelled.obsm[OBSM.regulators_mrna].dtype == np.float32
    assert "evidence" not in described


def test_evidence_is_written_where_the_bundle_has_it(bundle: Bundle, new: AnnData) -> None:
    evidence = [0.99, 0.5, np.nan, 1.0, 0.2]
    labelled = sct.annotate(new, Model(table_of(bundle, evidence=evidence), "m", "1"), regulators="all")
    np.testing.assert_array_equal(labelled.uns[UNS.annotation]["regulators"]["evidence"], evidence)
    named = {text[:-1] for cell in labelled.obs[OBS.top_regulators].dropna() for text in cell.split()}
    assert named <= {edges_of_panel().regulators[index] for index in (0, 3)}


def test_a_regulator_with_too_few_measured_targets_has_no_activity(bundle: Bundle, new: AnnData) -> None:
    part = new[:, [gene not in OUTSIDE_TARGETS[:3] for gene in GENES]].copy()
    outside = edges_of_panel().regulators.index("OUTSIDE")
    stated = replace(bundle, lineage=bundle.lineage | {"params": {"prior": {"min_targets": 4}}})
    assert (least_targets(bundle), least_targets(stated)) == (1, 4)
    for known, one in ((True, bundle), (False, stated)):
        model = Model(one, "m", "1")
        labelled = sct.annotate(part.copy(), model, regulators="all", min_coverage=0.0)
        described = labelled.uns[UNS.annotation]["regulators"]
        assert described["targets"][outside] == 3
        assert np.isfinite(labelled.obsm[OBSM.regulators][:, outside]).all() == known
        assert np.isnan(labelled.obsm[OBSM.regulators][:, outside]).all() != known
        assert model.activities(part, min_coverage=0.0)["OUTSIDE"].isna().all() != known
        assert known or not labelled.obs[OBS.top_regulators].astype(str).str.contains("OUTSIDE").any()


def test_own_mrna_comes_from_all_genes_of_the_file(bundle: Bundle, new: AnnData) -> None:
    names, model = edges_of_panel().regulators, Model(bundle, "m", "1")
    measured = with_outside_gene(new)[:, [gene != "GENE1" for gene in [*GENES, "OUTSIDE"]]].copy()
    labelled = sct.annotate(measured, model, regulators="all", min_coverage=0.0)
    mrna_NR = labelled.obsm[OBSM.regulators_mrna]
    expected = np.log1p(measured.X.toarray() / measured.obs[OBS.library_size].to_numpy()[:, None] * 1e4)
    for index, name in enumerate(names):
        if name == "GENE1":
            assert np.isnan(mrna_NR[:, index]).all()
        else:
            np.testing.assert_allclose(mrna_NR[:, index], expected[:, measured.var_names.get_loc(name)], rtol=1e-5)


def test_own_mrna_of_a_gene_that_the_file_lacks_is_missing(bundle: Bundle, new: AnnData) -> None:
    labelled = sct.annotate(new, Model(bundle, "m", "1"), regulators="all")
    is_missing = np.isnan(labelled.obsm[OBSM.regulators_mrna]).all(axis=0)
    assert is_missing.tolist() == [name == "OUTSIDE" for name in edges_of_panel().regulators]


@pytest.fixture
def written(bundle: Bundle, tmp_path: Path) -> Callable[..., Path]:
    """Annotates cells in a file; returns the output."""

    def annotate(source: Path, folder: str, **values: Any) -> Path:
        model = Model(bundle, "m", "1")
        return annotate_file(model, source, tmp_path / folder, AnnotationSettings(**values)).output

    return annotate


@pytest.mark.parametrize("kind", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_a_file_gets_the_fields_that_an_anndata_gets(
    bundle: Bundle, new: AnnData, written: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    cells, source = with_outside_gene(new), tmp_path / f"cells.{kind}"
    (cells.write_h5ad if kind == "h5ad" else cells.write_zarr)(source)
    read = anndata.read_h5ad if kind == "h5ad" else anndata.read_zarr
    in_memory = sct.annotate(cells, Model(bundle, "m", "1"), regulators="all")
    output = written(source, "all", regulators="all")
    found = read(output)
    for name in (OBSM.regulators, OBSM.regulators_mrna):
        np.testing.assert_array_equal(found.obsm[name], in_memory.obsm[name])
    for name, values in in_memory.uns[UNS.annotation]["regulators"].items():
        np.testing.assert_array_equal(found.uns[UNS.annotation]["regulators"][name], values)
    pd.testing.assert_series_equal(found.obs[OBS.top_regulators], in_memory.obs[OBS.top_regulators])
    again = read(written(output, "again", regulators="off"))
    assert OBS.top_regulators not in again.obs
    assert not {OBSM.regulators, OBSM.regulators_mrna} & set(again.obsm)
    assert "regulators" not in again.uns[UNS.annotation]


def test_an_anndata_that_is_annotated_again_loses_earlier_activities(bundle: Bundle, new: AnnData) -> None:
    model = Model(bundle, "m", "1")
    again = sct.annotate(sct.annotate(new, model, regulators="all"), model)
    assert OBS.top_regulators in again.obs
    assert not {OBSM.regulators, OBSM.regulators_mrna} & set(again.obsm)


def test_a_matrix_of_that_name_which_no_annotation_wrote_is_kept(bundle: Bundle, new: AnnData) -> None:
    new.obsm[OBSM.regulators] = np.ones((new.n_obs, 2))
    labelled = sct.annotate(new, Model(bundle, "m", "1"))
    np.testing.assert_array_equal(labelled.obsm[OBSM.regulators], 1.0)


def test_the_profile_of_a_file_has_the_mean_activity_of_each_label(
    new: AnnData, bundle: Bundle, tmp_path: Path
) -> None:
    new[:300].write_h5ad(tmp_path / "cells.h5ad")
    model = Model(bundle, "m", "1")
    found = {
        kind: annotate_file(model, tmp_path / "cells.h5ad", tmp_path / kind, AnnotationSettings(regulators=kind))
        for kind in ("all", "top", "off")
    }
    annotated = anndata.read_h5ad(found["all"].output)
    activity_NR, label_N = annotated.obsm[OBSM.regulators], annotated.obs["predicted_labels_raw"].astype(str)
    profile = Profile.from_json(found["all"].profile)
    assert list(profile.activity_by_label) == LABELS
    for name, mean_R in profile.activity_by_label.items():
        np.testing.assert_allclose(mean_R, activity_NR[(label_N == name).to_numpy()].mean(axis=0), atol=1e-4)
    assert found["top"].profile == found["all"].profile
    assert found["off"].profile["activity_by_label"] == {}
    few = new[:80].copy()
    few[:, [name for name in few.var_names if name != OUTSIDE_TARGETS[0]]].write_h5ad(tmp_path / "few.h5ad")
    other = annotate_file(model, tmp_path / "few.h5ad", tmp_path / "few", AnnotationSettings())
    assert other.profile["activity_by_label"] == {}, "no label has 30 cells"


def test_a_regulator_is_compared_if_the_file_has_most_of_its_targets() -> None:
    found = hand_made(targets_R=np.array([9, 8, 7, 4]), all_targets_R=np.array([9, 10, 10, 4]), least_targets=5)
    assert found.comparable_R.tolist() == [True, True, False, False]


def test_tables_have_a_column_per_regulator(new: AnnData, written: Callable[..., Path], tmp_path: Path) -> None:
    new.write_h5ad(tmp_path / "cells.h5ad")
    expected = anndata.read_h5ad(written(tmp_path / "cells.h5ad", "h5ad", regulators="all"))
    columns = [f"regulator:{name}" for name in edges_of_panel().regulators]
    table = parquet.read_table(written(tmp_path / "cells.h5ad", "all", regulators="all", format="parquet")).to_pandas()
    np.testing.assert_array_equal(table[columns], expected.obsm[OBSM.regulators])
    text = pd.read_csv(written(tmp_path / "cells.h5ad", "all", regulators="all", format="csv"))
    np.testing.assert_allclose(text[columns], expected.obsm[OBSM.regulators], rtol=1e-5)
    for found in (table, text):
        names, expected_names = (cells[OBS.top_regulators].astype(object) for cells in (found, expected.obs))
        assert names.fillna("").tolist() == expected_names.fillna("").tolist()
    top = pd.read_csv(written(tmp_path / "cells.h5ad", "top", format="csv"))
    assert OBS.top_regulators in top
    assert not set(columns) & set(top)
    off = pd.read_csv(written(tmp_path / "cells.h5ad", "off", format="csv", regulators="off"))
    assert OBS.top_regulators not in off


def test_bits_depend_neither_on_threads_nor_on_the_batch_size(
    new: AnnData, written: Callable[..., Path], tmp_path: Path
) -> None:
    new.write_h5ad(tmp_path / "cells.h5ad")
    plain = written(tmp_path / "cells.h5ad", "plain", regulators="all", threads=1).read_bytes()
    for number, values in enumerate(({"threads": 2}, {"threads": 2, "batch_cells": 130})):
        assert written(tmp_path / "cells.h5ad", str(number), regulators="all", **values).read_bytes() == plain


def test_a_model_without_activities_writes_none_and_notes_it(
    bundle_folder: Path, new: AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    labelled = sct.annotate(new, bundle_folder, regulators="all")
    assert OBS.top_regulators not in labelled.obs
    assert OBSM.regulators not in labelled.obsm
    assert caplog.text.count("has no activities of regulators") == 1
    caplog.clear()
    sct.annotate(new, bundle_folder, regulators="off")
    assert "activities" not in caplog.text


def test_without_regulators_the_graph_is_not_asked_for_them(bundle: Bundle, new: AnnData) -> None:
    model = Model(bundle, "m", "1")
    for wanted, level in ((False, "off"), (True, "top")):
        chosen = AnnotationSettings(regulators=level)
        read = model._read(new, chosen)
        (chunk,) = read.chunks(512)
        scores = model.scorer(chosen.scoring).labeller(read).scores(*chunk[:2])
        assert (scores.activity_NR is not None) == wanted
    first, second = (model.scorer(AnnotationSettings(regulators=level).scoring) for level in ("off", "top"))
    assert first is not second
    assert first.session is second.session  # the graph is loaded once


def test_a_stopped_run_is_resumed_with_its_activities(
    bundle: Bundle, new: AnnData, written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done > 150:
            raise KeyboardInterrupt

    monkeypatch.setattr(shards, "SHARD_CELLS", 64)
    new.write_h5ad(tmp_path / "cells.h5ad")
    chosen = AnnotationSettings(regulators="all", threads=1, batch_cells=64)
    whole = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "whole", chosen).output
    monkeypatch.setattr(stream, "CHUNK_CELLS", 64)
    with pytest.raises(KeyboardInterrupt):
        annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out", chosen, on_progress=stop)
    assert len(list((tmp_path / "out").rglob("*.regulators.safetensors"))) == 2
    summary = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out", chosen)
    assert summary.taken_over == 128
    assert summary.output.read_bytes() == whole.read_bytes()


def test_an_activity_that_is_read_back_with_another_value_is_refused(
    bundle: Bundle, new: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*arguments: Any) -> None:
        write_annotated(*arguments)
        with h5py.File(arguments[1], "r+") as file:
            file[f"obsm/{OBSM.regulators}"][40, 0] = 99.0

    monkeypatch.setattr(pipeline, "write_annotated", damaged)
    new.write_h5ad(tmp_path / "cells.h5ad")
    chosen = AnnotationSettings(regulators="all")
    with pytest.raises(OutputError, match=r"obsm\['X_regulators'\] were read back with other values"):
        annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out", chosen)


@pytest.mark.parametrize("output_format", ["anndata", "parquet"])
def test_the_record_of_an_output_has_no_table_of_regulators(
    activity_bundle: Path, new: AnnData, tmp_path: Path, output_format: Any
) -> None:
    new.write_h5ad(tmp_path / "cells.h5ad")
    model = sct.load_model(activity_bundle)
    chosen = AnnotationSettings(regulators="all", format=output_format)
    found = lineage_of_file(annotate_file(model, tmp_path / "cells.h5ad", tmp_path / "out", chosen).output)
    assert found["annotation"]["model_identity"] == model.identity
    assert "regulators" not in found["annotation"]
