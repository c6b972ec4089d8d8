"""The output is the input plus the annotation, written atomically; the input is never changed."""

import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from sctransformer import files
from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.annotation import scorer, writers
from sctransformer.annotation.fields import label_columns
from sctransformer.annotation.journal import FOLDER
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.results import Annotation, assemble
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.shards import Shard, ShardPlan, ShardStore
from sctransformer.errors import OutputError, UserError
from sctransformer.export.bundle import Bundle, label_table, read_bundle


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


@pytest.fixture
def source(cells: AnnData, tmp_path: Path) -> Path:
    """A file with something in every field of AnnData."""
    cells.raw = cells.copy()
    cells.layers["more"] = cells.X.copy()
    cells.obsm["X_pca"] = np.ones((90, 2))
    cells.obsp["near"] = cells.X @ cells.X.T
    cells.uns["note"] = {"who": "me", "n": np.arange(3)}
    cells.obs["donor"] = pd.Categorical(["a", "b", None] * 30)
    cells.obs["passed"] = pd.array([True, None, False] * 30, dtype="boolean")
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path, compression="gzip")
    return path


def annotated(bundle: Bundle, source: Path, outdir: Path, **settings: Any) -> AnnData:
    summary = annotate_file(Model(bundle, "model@champion", "7"), source, outdir, AnnotationSettings(**settings))
    return anndata.read_h5ad(summary.output)


def everything(path: Path) -> dict[str, Any]:
    """Every dataset of an HDF5 file as a list, and every attribute, by name."""
    found: dict[str, Any] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        found.update({f"{name}@{key}": np.asarray(value).tolist() for key, value in node.attrs.items()})
        if isinstance(node, h5py.Dataset):
            found[name] = [str(node.dtype), node.compression, np.asarray(node[()]).tolist()]

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    return found


def test_all_elements_of_the_input_are_kept_and_the_input_is_not_changed(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    before = source.read_bytes()
    output = annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out").output
    assert source.read_bytes() == before
    wanted, there = everything(source), everything(output)
    columns = wanted.pop("obs@column-order")
    ours = [OBS.predicted_labels, OBS.conf_score, OBS.raw_labels, OBS.second_labels, OBS.second_score, OBS.reason]
    ours.append(OBS.ontology_term)
    assert there.pop("obs@column-order") == [*columns, *ours]
    assert {name: there[name] for name in wanted} == wanted
    places = (*(f"obs/{name}" for name in ours), f"obsm/{OBSM.embedding}", f"uns/{UNS.annotation}")
    assert all(name.startswith(places) for name in set(there) - set(wanted))
    result = anndata.read_h5ad(output)
    assert list(result.obs) == [*columns, *ours]
    assert result.raw is not None


def test_fields_have_their_types(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    result = annotated(bundle, source, tmp_path / "out")
    present = set(result.obs[OBS.predicted_labels])  # names without cells are no categories: scanpy's plots need it
    assert result.obs[OBS.predicted_labels].cat.categories.tolist() == [
        name for name in ("alpha", "beta", "gamma", "unknown") if name in present
    ]
    assert result.obs[OBS.conf_score].dtype == np.float32
    assert result.obsm[OBSM.embedding].dtype == np.float32
    assert result.obsm[OBSM.embedding].shape == (90, 8)
    alpha = result.obs[OBS.predicted_labels] == "alpha"
    assert (result.obs[OBS.ontology_term] == np.where(alpha, "CL:0000236", "unknown")).all()
    found = result.uns[UNS.annotation]
    assert (found["model"], found["model_version"], found["model_identity"]) == ("model@champion", "7", bundle.identity)
    assert found["prior_sha256"] == "3" * 64
    assert (found["gene_coverage"], found["genes_missing"], found["threshold"]) == (1.0, 0, 0.3)
    assert found["library_size"] == "obs['library_size']"
    assert found["variant"] == "float32"
    assert len(found["job_id"]) == 16


def test_rejected_cells_keep_their_confidence(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    kept = annotated(bundle, source, tmp_path / "kept", threshold=0.0)
    strict = annotated(bundle, source, tmp_path / "strict", threshold=1.0)
    assert (strict.obs[OBS.predicted_labels] == "unknown").all()
    assert strict.uns[UNS.annotation]["rejected"] == 90
    assert strict.uns[UNS.annotation]["rejected_by"]["low confidence"] == 90
    assert (strict.obs[OBS.reason] == "low confidence").all()
    assert kept.obs[OBS.reason].isna().all()
    assert (strict.obs[OBS.raw_labels] == kept.obs[OBS.predicted_labels]).all()
    assert (strict.obs[OBS.second_labels] != strict.obs[OBS.raw_labels]).all()
    assert (strict.obs[OBS.second_score] <= strict.obs[OBS.conf_score]).all()
    np.testing.assert_array_equal(kept.obs[OBS.conf_score], strict.obs[OBS.conf_score])
    assert kept.uns[UNS.annotation]["job_id"] != strict.uns[UNS.annotation]["job_id"]


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_probabilities_are_written_on_demand_and_removed_by_a_later_run_without(
    bundle: Bundle, cells: AnnData, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"cells.{kind}"
    cells.write_h5ad(path) if kind == "h5ad" else cells.write_zarr(path)
    read = anndata.read_h5ad if kind == "h5ad" else anndata.read_zarr
    model, settings = Model(bundle, "m", "1"), AnnotationSettings(probabilities=True)
    output = annotate_file(model, path, tmp_path / "out", settings).output
    result = read(output)
    probabilities_NC = result.obsm[OBSM.probabilities]
    assert probabilities_NC.dtype == np.float32
    assert list(result.uns[UNS.annotation]["cell_types"]) == ["alpha", "beta", "gamma"]
    np.testing.assert_array_equal(probabilities_NC, model.predict_proba(cells))
    np.testing.assert_array_equal(probabilities_NC.max(axis=1), result.obs[OBS.conf_score])
    again = read(annotate_file(model, output, tmp_path / "again").output)
    assert OBSM.probabilities not in again.obsm
    assert "cell_types" not in again.uns[UNS.annotation]


def test_the_job_id_depends_on_content_model_and_settings_alone(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    copy = shutil.copy(source, tmp_path / "other_name.h5ad")
    first = annotate_file(Model(bundle, "a", "1"), source, tmp_path / "one").job_id
    assert (
        annotate_file(Model(bundle, "b", "2"), Path(copy), tmp_path / "two", AnnotationSettings(batch_cells=8)).job_id
        == first
    )


def test_an_ontology_column_of_the_input_is_kept(
    bundle: Bundle, cells: AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells.obs[OBS.ontology_term] = pd.Categorical(["CL:0000000"] * 90)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    result = annotated(bundle, tmp_path / "cells.h5ad", tmp_path / "out")
    assert (result.obs[OBS.ontology_term] == "CL:0000000").all()
    assert "keeps its own" in caplog.text


def test_a_second_run_replaces_the_first(
    bundle: Bundle, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first = annotate_file(Model(bundle, "m", "1"), source, tmp_path, AnnotationSettings(threshold=1.0)).output
    result = annotated(bundle, first, tmp_path)
    assert "are replaced" in caplog.text
    assert list(result.obs).count(OBS.predicted_labels) == 1
    assert not (result.obs[OBS.predicted_labels] == "unknown").all()
    assert (result.obs[OBS.ontology_term] == "CL:0000236").any()


def test_ontology_ids_of_an_earlier_run_are_removed_with_its_labels(
    source: Path, bundle: Bundle, tmp_path: Path
) -> None:
    first = annotate_file(Model(bundle, "m", "1"), source, tmp_path).output
    annotation = nothing_sure(tmp_path, 90)
    (tmp_path / "inner").mkdir()
    columns = label_columns(annotation.calls, label_table(["alpha"], {}))
    writers.write_annotated(first, tmp_path / "inner" / "x.h5ad", annotation, columns, {})
    result = anndata.read_h5ad(tmp_path / "inner" / "x.h5ad")
    assert OBS.ontology_term not in result.obs
    assert result.obs[OBS.predicted_labels].cat.categories.tolist() == ["unknown"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (OBS.predicted_labels, "h5ad"),
        (OBS.conf_score, "h5ad"),
        (OBS.ontology_term, "h5ad"),
        ("majority_voting", "h5ad"),
        (OBS.predicted_labels, "zarr"),
    ],
)
def test_cell_names_survive_an_index_named_like_a_column(
    bundle: Bundle, cells: AnnData, tmp_path: Path, name: str, kind: str
) -> None:
    cells.obs.index.name = name
    cells.uns[UNS.annotation] = {"obs_columns": np.array([name], dtype=object)}
    path = tmp_path / f"cells.{kind}"
    cells.write_h5ad(path) if kind == "h5ad" else cells.write_zarr(path)
    output = annotate_file(Model(bundle, "m", "1"), path, tmp_path / "out").output
    result = anndata.read_h5ad(output) if kind == "h5ad" else anndata.read_zarr(output)
    assert result.obs_names.tolist() == cells.obs_names.tolist()
    assert {OBS.predicted_labels, OBS.conf_score} <= set(result.obs)
    result.write_h5ad(tmp_path / "again.h5ad")


@pytest.mark.parametrize("found", [5, "donor", ["donor", OBS.conf_score], {"a": 1}])
def test_other_columns_are_kept_whatever_uns_holds(bundle: Bundle, cells: AnnData, tmp_path: Path, found: Any) -> None:
    cells.obs["donor"] = "a"
    cells.uns[UNS.annotation] = {"obs_columns": found}
    cells.write_h5ad(tmp_path / "cells.h5ad")
    assert (annotated(bundle, tmp_path / "cells.h5ad", tmp_path / "out").obs["donor"] == "a").all()


def nothing_sure(folder: Path, n_cells: int) -> Annotation:
    """An annotation that rejects every cell."""
    store = ShardStore(folder / "shards", ShardPlan(n_cells, 512, 64))
    zeros_N = np.zeros(n_cells, np.float32)
    none_G = np.zeros(3)
    store.write(
        0,
        Shard(
            probabilities_NC=np.zeros((n_cells, 1), np.float32),
            embedding_NE=np.zeros((n_cells, 2), np.float32),
            library_size_N=zeros_N,
            panel_N=np.full(n_cells, -1, np.int16),
            counted_N=zeros_N > 0,
            novelty_N=np.full(n_cells, np.nan, np.float32),
            typical_N3=np.zeros((n_cells, 0), np.int32),
            alone_N3=np.zeros((n_cells, 0), np.int32),
            activity_NR=np.zeros((n_cells, 0), np.float32),
            mrna_NR=np.zeros((n_cells, 0), np.float32),
            detected_G=none_G,
            expression_G=none_G,
            activity_sum_CR=np.zeros((1, 0)),
        ),
    )
    return assemble(store, Limits(0.5))


def nothing_left(outdir: Path) -> bool:
    """Whether there is no output, complete or not: at most the journal, from which the next run resumes."""
    visible = [path.name for path in outdir.iterdir() if path.name != FOLDER]
    return visible == [] and not [path for path in outdir.rglob("*.h5ad") if path.is_file()]


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "on device.*; make room there and run again"),
        (RuntimeError("Can't flush (write failed: errno = 28, bytes = 1)"), OutputError, "make room there"),
        (OSError(errno.EIO, "Input/output error"), OutputError, r"Input/output error\); fix that and run again"),
        (RuntimeError("Can't decrement id ref count"), OutputError, r"ref count\); fix that"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
)
def test_no_output_is_left_when_writing_fails(
    bundle: Bundle,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    words: str,
) -> None:
    def stop(*_: Any) -> None:
        raise error

    monkeypatch.setattr(writers, "write_elem", stop)
    before = source.read_bytes()
    with pytest.raises(raised, match=words):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out")
    assert nothing_left(tmp_path / "out")
    assert source.read_bytes() == before


def test_an_earlier_output_survives_a_failed_run(
    bundle: Bundle, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out").output
    before = output.read_bytes()

    def stop(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers, "write_elem", stop)
    with pytest.raises(OutputError, match="No space left on device"):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out", AnnotationSettings(threshold=0.9))
    assert output.read_bytes() == before


def test_too_little_space_is_reported_before_scoring(
    bundle: Bundle, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(scorer, "score_shards", None)
    with pytest.raises(UserError, match="make room"):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_ctrl_c_while_scoring_leaves_no_output(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out", on_progress=interrupt)
    assert nothing_left(tmp_path / "out")


def test_an_input_that_changes_while_it_is_annotated_is_refused(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    def change(done: int, total: int) -> None:
        with source.open("ab") as stream:
            stream.write(b"x")

    with pytest.raises(UserError, match="was changed while it was annotated"):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out", on_progress=change)
    assert nothing_left(tmp_path / "out")


def test_the_output_is_never_the_input(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "cells_annotated.h5ad"
    shutil.move(source, target)
    source.symlink_to(target)
    with pytest.raises(UserError, match="is the input itself"):
        annotate_file(Model(bundle, "m", "1"), source, tmp_path)


def test_a_read_only_input_gives_a_writable_output(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    source.chmod(0o444)
    output = annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out").output
    assert output.stat().st_mode & 0o600 == 0o600
    assert files.sha256_file(output)
    with h5py.File(output) as file:
        assert set(file["obs"].attrs["column-order"]) == set(file["obs"]) - {"_index"}


def test_a_read_only_folder_gives_a_writable_one(
    bundle: Bundle, cells: AnnData, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = tmp_path / "cells.zarr"
    cells.write_zarr(source)
    members = [source, *source.rglob("*")]

    def allow(folders: int, files: int) -> None:
        for member in members:
            member.chmod(folders if member.is_dir() else files)

    request.addfinalizer(lambda: allow(0o755, 0o644))
    allow(0o555, 0o444)
    output = annotate_file(Model(bundle, "m", "1"), source, tmp_path / "out").output
    assert all(member.stat().st_mode & 0o200 for member in [output, *output.rglob("*")])
    assert anndata.read_zarr(output).obs[OBS.predicted_labels].notna().all()
