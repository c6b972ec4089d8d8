"""Sources of cells, and tables as output."""

import json
from collections.abc import Callable
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from sctransformer._constants import OBS
from sctransformer.annotation import sources
from sctransformer.annotation.files import annotate_each
from sctransformer.annotation.journal import FOLDER
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import FileAnnotator, annotate_file
from sctransformer.annotation.settings import AnnotationSettings, output_path
from sctransformer.annotation.sources import LocalSource, RemoteSource, find_sources, source_output
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from tests.conftest import simulated_cells
from tests.integration.conftest import Outcome

Call = Callable[..., Outcome]


def names(where: str, outdir: Path) -> list[str]:
    return [source.name for source in find_sources(where, outdir)]


def test_outputs_in_a_folder_are_not_inputs(tmp_path: Path) -> None:
    for name in ("b.h5ad", "a.h5ad", "a_annotated.h5ad", ".hidden.h5ad", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.zarr").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "d.h5ad").write_bytes(b"")
    assert names(str(tmp_path), tmp_path) == ["a.h5ad", "b.h5ad", "c.zarr"]
    assert names(str(tmp_path), tmp_path / "out") == ["a.h5ad", "a_annotated.h5ad", "b.h5ad", "c.zarr"]
    assert names(f"{tmp_path}/**/*.h5ad", tmp_path) == ["a.h5ad", "b.h5ad", "d.h5ad"]
    assert find_sources(str(tmp_path / "absent.h5ad"), tmp_path) == [LocalSource(tmp_path / "absent.h5ad")]
    assert names(str(tmp_path / "c.zarr"), tmp_path) == ["c.zarr"]


def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path: Path) -> None:
    (tmp_path / "a[1].h5ad").write_bytes(b"")
    assert names(str(tmp_path / "a[1].h5ad"), tmp_path) == ["a[1].h5ad"]


def test_patterns_and_folders_without_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file that ends in \.h5ad or \.zarr"):
        find_sources(str(tmp_path / "*.h5ad"), tmp_path)
    (tmp_path / "cells.h5ad.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"cells\.h5ad\.gz is a compressed h5ad file: unpack it"):
        find_sources(str(tmp_path), tmp_path)
    (tmp_path / "matrix.mtx.gz").write_bytes(b"")
    with pytest.raises(UserError, match="read_10x_mtx"):
        find_sources(str(tmp_path), tmp_path)
    with pytest.raises(UserError, match="read_10x_mtx"):
        LocalSource(tmp_path).state()
    with pytest.raises(UserError, match=r"has '\.\.' after a wildcard"):
        find_sources(str(tmp_path / "*" / ".." / "*.h5ad"), tmp_path)


@pytest.mark.parametrize(
    ("pattern", "outputs"),
    [
        ("s*/cells.h5ad", ["s1/cells_annotated.h5ad", "s2/cells_annotated.h5ad"]),
        ("*/*/cells.h5ad", ["s2/deep/cells_annotated.h5ad"]),
        (
            "**/*.h5ad",
            [
                "a_annotated.h5ad",
                "s1/cells_annotated.h5ad",
                "s2/cells_annotated.h5ad",
                "s2/deep/cells_annotated.h5ad",
            ],
        ),
        ("s1/*.h5ad", ["cells_annotated.h5ad"]),
        ("*.h5ad", ["a_annotated.h5ad"]),
        ("", ["a_annotated.h5ad"]),
    ],
)
def test_an_output_keeps_the_folders_below_the_first_wildcard(tmp_path: Path, pattern: str, outputs: list[str]) -> None:
    for name in ("a.h5ad", "s1/cells.h5ad", "s2/cells.h5ad", "s2/deep/cells.h5ad", ".old/cells.h5ad"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for outdir in (tmp_path / "elsewhere", tmp_path, tmp_path / "s1" / "out"):
        for name in outputs:  # of an earlier run: no input of the next
            (outdir / name).parent.mkdir(parents=True, exist_ok=True)
            (outdir / name).write_bytes(b"")
        found = find_sources(str(tmp_path / pattern), outdir)
        assert [source_output(source, outdir) for source in found] == [outdir / name for name in outputs]
        for name in outputs:
            (outdir / name).unlink()


def test_files_with_one_name_in_several_folders_are_all_labelled(
    bundle_folder: Path, tmp_path: Path, call: Call
) -> None:
    for name in ("s1", "s2", "s3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        simulated_cells().write_h5ad(tmp_path / "runs" / name / "cells.h5ad")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "s3").symlink_to(tmp_path / "elsewhere")
    words = ("annotate", "-i", tmp_path / "runs/*/cells.h5ad", "-m", bundle_folder, "-o", tmp_path / "out")
    outcome = call(*words)
    assert outcome.code == 3
    assert "out/s3/.sctransformer: leads out of" in outcome.err
    assert list((tmp_path / "elsewhere").iterdir()) == []
    for name in ("s1", "s2"):
        assert anndata.read_h5ad(tmp_path / "out" / name / "cells_annotated.h5ad").n_obs == 90
    assert call(*words).out.count("unchanged") == 2


def test_files_that_would_have_the_same_output_are_refused(bundle_folder: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "new").mkdir()
    for name in ("a", "b"):
        simulated_cells().write_h5ad(tmp_path / "new" / f"{name}.h5ad")
    simulated_cells().write_zarr(tmp_path / "new" / "a.zarr")
    words = ("annotate", "-i", tmp_path / "new", "-m", bundle_folder, "-o", tmp_path / "out")
    outcome = call(*words, "--format", "csv")
    assert outcome.code == 3
    assert outcome.err.count("would have the same output as") == 2
    assert [path.name for path in (tmp_path / "out").glob("*.csv")] == ["b_annotated.csv"]
    assert call(*words).code == 0
    assert len(list((tmp_path / "out").glob("a_annotated.*"))) == 2


def test_tables_have_the_values_of_the_copy(bundle_folder: Path, tmp_path: Path) -> None:
    simulated_cells(1300).write_h5ad(tmp_path / "cells.h5ad")
    bundle = read_bundle(bundle_folder)

    def output(kind: Any) -> Path:
        settings = AnnotationSettings(format=kind, threshold=0.9, probabilities=True)
        return annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out", settings).output

    copy = anndata.read_h5ad(output("anndata"))
    table = pd.read_parquet(output("parquet"))
    assert table["cell"].tolist() == copy.obs_names.tolist()
    ours = [OBS.predicted_labels, OBS.conf_score, OBS.ontology_term]
    pd.testing.assert_frame_equal(table[ours], copy.obs[ours].reset_index(drop=True), check_exact=True)
    np.testing.assert_array_equal(np.stack(table["X_sctransformer"].to_list()), copy.obsm["X_sctransformer"])
    described = json.loads(parquet.read_schema(tmp_path / "out" / "cells_annotated.parquet").metadata[b"sctransformer"])
    assert (described["model"], described["threshold"]) == ("m", 0.9)
    text = pd.read_csv(output("csv"), index_col="cell")
    assert text[OBS.predicted_labels].tolist() == copy.obs[OBS.predicted_labels].tolist()
    np.testing.assert_allclose(text[OBS.conf_score], copy.obs[OBS.conf_score], rtol=1e-6)
    names = [f"probability_{name}" for name in bundle.labels["name"]]
    np.testing.assert_array_equal(table[names], copy.obsm["sctransformer_probabilities"])
    np.testing.assert_allclose(text[names], copy.obsm["sctransformer_probabilities"], rtol=1e-5)


def test_a_bad_file_does_not_stop_the_others(bundle_folder: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "new").mkdir()
    for name in ("a", "c"):
        simulated_cells().write_h5ad(tmp_path / "new" / f"{name}.h5ad")
    (tmp_path / "new" / "b.h5ad").write_bytes(b"no HDF5")
    words = ("annotate", "-i", tmp_path / "new", "-m", bundle_folder, "-o", tmp_path / "out")
    outcome = call(*words)
    assert outcome.code == 3
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert "b.h5ad: is not a readable h5ad file" in outcome.err
    for number, what in ((1, "a_annotated.h5ad: 90 cells"), (2, "b.h5ad: not labelled"), (3, "c_annotated.h5ad: 90")):
        assert what in outcome.out.splitlines()[number - 1]
        assert outcome.out.splitlines()[number - 1].startswith(f"file {number} of 3: ")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.h5ad")) == ["a_annotated.h5ad", "c_annotated.h5ad"]
    assert call(*words).out.count("unchanged") == 2
    (tmp_path / "new" / "b.h5ad").unlink()
    assert call(*words).code == 0


@pytest.fixture
def bucket(s3: Any) -> Any:
    """A client of a real S3 API on loopback that has a bucket `cells`."""
    s3.create_bucket(Bucket="cells")
    return s3


@pytest.mark.slow
def test_remote_cells_are_labelled_once_and_failed_reads_are_repeated(
    bucket: Any, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name in ("a", "b"):
        simulated_cells(seed=ord(name)).write_h5ad(tmp_path / f"{name}.h5ad")
        bucket.upload_file(str(tmp_path / f"{name}.h5ad"), "cells", f"new/{name}.h5ad")
    simulated_cells(seed=7).write_zarr(tmp_path / "c.zarr")
    for path in (tmp_path / "c.zarr").rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), "cells", f"new/{path.relative_to(tmp_path)}")
    failures = {"left": 2}
    read = s3fs.S3FileSystem._get_file

    async def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if failures["left"]:
            failures["left"] -= 1
            raise OSError("connection reset by peer")
        return await read(self, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_get_file", failing)
    monkeypatch.setattr(sources, "_FIRST_WAIT_SECONDS", 0.01)
    model = Model(read_bundle(bundle_folder), "m", "1")
    annotator = FileAnnotator(model, tmp_path / "out")
    found = find_sources("s3://cells/new/", tmp_path / "out")
    assert [str(source) for source in found] == [f"s3://cells/new/{name}" for name in ("a.h5ad", "b.h5ad", "c.zarr")]
    assert find_sources("s3://cells/new/*.h5ad", tmp_path / "out") == found[:2]
    bucket.upload_file(str(tmp_path / "a.h5ad"), "cells", "runs/s1/a.h5ad")
    (deep,) = find_sources("s3://cells/runs/*/a.h5ad", tmp_path / "out")
    assert source_output(deep, tmp_path) == tmp_path / "s1" / "a_annotated.h5ad"

    def outputs() -> list[Any]:
        return [outcome.done for outcome in annotate_each(annotator, found)]

    first = outputs()
    assert failures["left"] == 0
    local = annotate_file(Model(model.bundle, "m", "1"), tmp_path / "a.h5ad", tmp_path / "local")
    assert first[0].output.read_bytes() == local.output.read_bytes()
    assert anndata.read_zarr(first[2].output).n_obs == 90
    assert not list((tmp_path / "out" / FOLDER).rglob("fetched"))
    failures["left"] = 1_000_000  # nothing is read again
    assert all(summary.unchanged for summary in outputs())
    bucket.upload_file(str(tmp_path / "b.h5ad"), "cells", "new/a.h5ad")
    errors = [outcome.error for outcome in annotate_each(annotator, found[:1])]
    assert "cannot be read after 4 attempts (connection reset by peer)" in str(errors[0])
    assert first[0].output.read_bytes() == local.output.read_bytes()
    with pytest.raises(UserError, match=r"s3://cells/none\.h5ad: no such file"):
        RemoteSource("s3://cells/none.h5ad").state()


def test_missing_credentials_are_reported_at_once(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(sources.time, "sleep", None)
    with pytest.raises(UserError, match=r"s3://cells/new/: credentials for it are missing \(.*; set them"):
        find_sources("s3://cells/new/", tmp_path)


def test_object_names_cannot_lead_out_of_the_output_folder(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["b/runs/s1/a.h5ad", "b/runs/../../a.h5ad", "b/runs/.sctransformer/a.h5ad", "b/runs/s1/../../../a.h5ad"]
    system = SimpleNamespace(glob=lambda path: keys, unstrip_protocol=lambda name: f"s3://{name}")
    monkeypatch.setattr(sources, "_file_system", lambda url: (system, url.removeprefix("s3://")))
    assert find_sources("s3://b/runs/**/*.h5ad", tmp_path) == [RemoteSource("s3://b/runs/s1/a.h5ad", PurePath("s1"))]
    bundle = read_bundle(bundle_folder)
    for below in ("..", "/", "s1/../.."):
        with pytest.raises(UserError, match="leads out of"):
            annotate_file(Model(bundle, "m", "1"), LocalSource(tmp_path / "a.h5ad", PurePath(below)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_url_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nonsense://x\.h5ad: cannot be opened"):
        find_sources("nonsense://x.h5ad", tmp_path)


def test_outputs_are_named_after_their_inputs(tmp_path: Path) -> None:
    assert output_path("a.b.h5ad", tmp_path) == tmp_path / "a.b_annotated.h5ad"
    assert output_path("a.zarr", tmp_path) == tmp_path / "a_annotated.zarr"
    assert output_path("a.h5ad", tmp_path, "csv") == tmp_path / "a_annotated.csv"
