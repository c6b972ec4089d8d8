"""Finished, interrupted and concurrent annotations of the same file."""

import errno
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.annotation import shards
from sctransformer.annotation.journal import FOLDER, Journal
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.shards import Shard, ShardPlan, ShardStore
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.errors import BusyError, OutputError, UserError
from sctransformer.export.bundle import read_bundle
from tests.children import context
from tests.conftest import simulated_cells

KILLS = 24
SLOW = AnnotationSettings(batch_cells=4, threads=1)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_CELLS", 512)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Cells of three shards."""
    path = tmp_path / "cells.h5ad"
    simulated_cells(1300).write_h5ad(path)
    return path


@pytest.fixture
def annotate(bundle_folder: Path, source: Path, tmp_path: Path) -> Callable[..., AnnotationSummary]:
    bundle = read_bundle(bundle_folder)

    def run(outdir: str = "out", **arguments: Any) -> AnnotationSummary:
        return annotate_file(Model(bundle, "m", "1"), source, tmp_path / outdir, **arguments)

    return run


def all_files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_annotating_twice_changes_nothing(annotate: Callable[..., AnnotationSummary], tmp_path: Path) -> None:
    first = annotate()
    before = all_files(tmp_path / "out")
    assert set(before) == {
        "cells_annotated.h5ad",
        *(f"{FOLDER}/cells_annotated.h5ad/{name}" for name in ("done.json", "input.json", "lock")),
    }
    second = annotate(scorer=None, on_progress=None)
    assert (first.unchanged, second.unchanged) == (False, True)
    assert (second.labels, second.job_id, second.output) == (first.labels, first.job_id, first.output)
    assert all_files(tmp_path / "out") == before


def test_label_counts_of_an_unchanged_output_keep_their_order(
    annotate: Callable[..., AnnotationSummary], source: Path
) -> None:
    cells = simulated_cells(300)
    cells[(cells.obs[OBS.cell_type] == "gamma") | (np.arange(300) < 60)].copy().write_h5ad(source)
    first, second = annotate().labels, annotate().labels
    assert next(iter(first)) == "gamma"
    assert list(second.items()) == list(first.items())


def test_a_higher_minimum_coverage_refuses_a_labelled_file_and_keeps_its_output(
    annotate: Callable[..., AnnotationSummary], source: Path, tmp_path: Path
) -> None:
    simulated_cells(200)[:, :12].copy().write_h5ad(source)
    output = annotate(settings=AnnotationSettings(min_coverage=0.0)).output
    before = all_files(tmp_path / "out")
    for _ in range(2):
        with pytest.raises(UserError, match=r"under the minimum of 80\.0%"):
            annotate()
    lock = f"{FOLDER}/{output.name}/lock"
    after = all_files(tmp_path / "out")
    assert {**after, lock: None} == {**before, lock: None}
    assert annotate(settings=AnnotationSettings(min_coverage=0.1)).unchanged


def test_a_missing_changed_or_outdated_output_is_written_again(
    annotate: Callable[..., AnnotationSummary], source: Path
) -> None:
    output = annotate().output
    content = output.read_bytes()
    output.unlink()
    assert not annotate().unchanged
    output.write_bytes(content[:-1] + b"x")
    assert not annotate().unchanged
    assert output.read_bytes() == content
    os.utime(output)  # touched, and what it was
    assert annotate().unchanged
    assert not annotate(settings=AnnotationSettings(threshold=0.99)).unchanged
    simulated_cells(1300, seed=5).write_h5ad(source)
    assert not annotate(settings=AnnotationSettings(threshold=0.99)).unchanged
    assert output.read_bytes() != content


def test_a_stopped_run_is_resumed(annotate: Callable[..., AnnotationSummary], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 1100:
            raise KeyboardInterrupt

    whole = annotate("whole").output.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        annotate(on_progress=stop)
    seen: list[int] = []
    summary = annotate(on_progress=lambda done, total: seen.append(done))
    assert (summary.taken_over, seen[0]) == (1024, 1024)
    assert summary.output.read_bytes() == whole
    assert sorted(path.name for path in (tmp_path / "out" / FOLDER / "cells_annotated.h5ad").iterdir()) == [
        "done.json",
        "input.json",
        "lock",
    ]


def test_damaged_shards_are_scored_again(annotate: Callable[..., AnnotationSummary], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 1100:
            raise KeyboardInterrupt

    whole = annotate("whole").output.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        annotate(on_progress=stop)
    first, second = sorted((tmp_path / "out").rglob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    second.with_name("00000099-junk").write_bytes(b"")
    summary = annotate()
    assert summary.taken_over == 512
    assert summary.output.read_bytes() == whole


def test_a_resumed_run_keeps_the_batch_size(annotate: Callable[..., AnnotationSummary]) -> None:
    def stop(done: int, total: int) -> None:
        if done > 600:
            raise KeyboardInterrupt

    whole = annotate("whole").output.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        annotate(on_progress=stop, settings=AnnotationSettings(batch_cells=190))
    summary = annotate(settings=AnnotationSettings(batch_cells=64))
    assert summary.taken_over == 384  # two batches of three runs of the graph
    assert summary.output.read_bytes() == whole


def test_a_second_process_reports_that_the_output_is_busy(
    annotate: Callable[..., AnnotationSummary], tmp_path: Path
) -> None:
    with Journal(tmp_path / "out" / "cells_annotated.h5ad").locked():
        with pytest.raises(BusyError, match=f"process {os.getpid()} is writing it now; nothing was done") as caught:
            annotate()
        assert caught.value.exit_code == 75
        assert not list((tmp_path / "out").glob("*.h5ad"))
    assert annotate().cells == 1300


def test_a_removed_lock_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.h5ad")
    with journal.locked():
        journal.discard()
        assert not journal.folder.exists()
    with journal.locked():
        assert journal.folder.exists()


def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    return Path("out")


def without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which no other can be created, as in /proc: the system reports that it does not exist."""

    def mkdir(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return tmp_path


@pytest.mark.parametrize("where", [gone, without_room])
def test_a_folder_that_cannot_be_created_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Callable[[Path, pytest.MonkeyPatch], Path]
) -> None:
    outdir = where(tmp_path, monkeypatch)
    with (
        pytest.raises(OutputError, match=rf"{outdir}: cannot be written \(No such file or directory\); choose another"),
        Journal(outdir / "x.h5ad").locked(),
    ):
        pass


def test_an_input_that_is_replaced_while_it_is_read_is_refused(
    annotate: Callable[..., AnnotationSummary], source: Path, tmp_path: Path
) -> None:
    def replace(done: int, total: int) -> None:
        if done == total:
            simulated_cells(1300, seed=9).write_h5ad(source.with_name("new"))
            source.with_name("new").replace(source)

    with pytest.raises(UserError, match="was changed while it was annotated; run again"):
        annotate(on_progress=replace)
    assert not list((tmp_path / "out").rglob("*.*"))
    assert annotate().cells == 1300


def test_a_run_stopped_by_a_full_disk_is_resumed(annotate: Callable[..., AnnotationSummary], tmp_path: Path) -> None:
    """A limit on file sizes acts like a full disk: any write may fail in the middle."""
    whole = annotate("whole").output.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (1_000, 20_000, 120_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(OutputError, match="cannot be written"):
                annotate()
            assert not list((tmp_path / "out").glob("*.h5ad"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    summary = annotate()
    assert summary.taken_over == 1300
    assert summary.output.read_bytes() == whole


def shard_of(values: np.ndarray) -> Shard:
    """A shard with one regulator."""
    column, names = values[:, None], values[:, None].astype(np.int32)
    regulators = {"typical_N3": names, "alone_N3": names, "activity_NR": column, "mrna_NR": -column}
    sums = {"detected_G": values, "expression_G": values, "activity_sum_CR": column}
    return Shard(column, column, values, values > 3, values, **regulators, panel_N=values.astype(np.int16), **sums)


def test_shards_are_complete_or_missing(tmp_path: Path) -> None:
    store = ShardStore(tmp_path / "shards", ShardPlan(10, 5, 5))
    content = shard_of(np.arange(10, dtype=np.float32))
    assert store.missing() == [0]
    store.write(0, content)
    assert ShardStore(store.folder, store.plan).missing() == [0][1:]
    for name, value in vars(store.read(0)).items():
        np.testing.assert_array_equal(value, getattr(content, name))
    (path,) = store.folder.iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="does not match its checksum"):
        store.read(0)


def test_a_shard_without_its_activities_is_missing(tmp_path: Path) -> None:
    content = shard_of(np.arange(10, dtype=np.float32))
    store = ShardStore(tmp_path / "shards", ShardPlan(10, 5, 5), activities=True)
    store.write(0, content)
    again = ShardStore(store.folder, store.plan, activities=True)
    assert again.missing() == [0][1:]
    assert again.read(0).activity_NR.shape == (10, 0)
    np.testing.assert_array_equal(again.read(0).typical_N3, content.typical_N3)
    for found, expected in zip(again.read_activities(0), (content.activity_NR, content.mrna_NR), strict=True):
        np.testing.assert_array_equal(found, expected)
    (path,) = store.folder.glob("*.regulators.safetensors")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="does not match its checksum"):
        again.read_activities(0)
    assert again.missing() == [0]
    assert not path.exists()


def _annotate_until_killed(bundle_folder: Path, source: Path, outdir: Path, fatal: int, pipe: Any) -> None:
    """Annotate; end as by kill -9 before file operation number `fatal`. Sends a message at the start, and the time."""
    shards.SHARD_CELLS = 512
    bundle = read_bundle(bundle_folder)
    scorer = LocalScorer(bundle, SLOW.scoring)
    assert scorer.session
    operations = 0

    def count(event: str, arguments: Any) -> None:
        nonlocal operations
        if event.startswith(("open", "os.", "shutil.")):
            operations += 1
            if operations == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    pipe.send("ready")
    started = time.perf_counter()
    annotate_file(Model(bundle, "m", "1"), source, outdir, SLOW, scorer=scorer)
    pipe.send((time.perf_counter() - started, operations))


@pytest.mark.slow
def test_a_run_after_kills_at_any_point_gives_the_same_output(
    bundle_folder: Path, source: Path, tmp_path: Path, annotate: Callable[..., AnnotationSummary]
) -> None:
    """Half of the kills are at a random time, half before a random file operation; several, then a complete run."""
    rng = np.random.default_rng(0)
    before = source.read_bytes()

    def start(outdir: Path, fatal: int) -> tuple[Any, Any]:
        here, there = context().Pipe()
        process = context().Process(target=_annotate_until_killed, args=(bundle_folder, source, outdir, fatal, there))
        process.start()
        assert here.recv() == "ready"
        return process, here

    undisturbed, pipe = start(tmp_path / "whole", -1)
    seconds, operations = pipe.recv()
    undisturbed.join()
    whole = (tmp_path / "whole" / "cells_annotated.h5ad").read_bytes()
    killed = 0
    while killed < KILLS:
        by_time = killed % 2 == 0
        process, _ = start(tmp_path / "out", -1 if by_time else int(rng.integers(1, operations + 1)))
        if by_time:
            time.sleep(float(rng.uniform(0, seconds)))
            process.kill()
        process.join()
        was_killed = process.exitcode == -signal.SIGKILL
        killed += was_killed
        visible = [path for path in (tmp_path / "out").glob("*") if path.name != FOLDER]
        assert all(path.read_bytes() == whole for path in visible)
        if killed % 4 == 0 or not was_killed:
            assert annotate(settings=SLOW).output.read_bytes() == whole
            shutil.rmtree(tmp_path / "out")
    assert source.read_bytes() == before


def test_a_zarr_folder_is_annotated(bundle_folder: Path, cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    cells.write_zarr(tmp_path / "cells2.zarr")
    bundle = read_bundle(bundle_folder)
    of_file = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out").output
    of_folder = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells2.zarr", tmp_path / "out")
    assert of_folder.output.name == "cells2_annotated.zarr"
    left, right = anndata.read_h5ad(of_file), anndata.read_zarr(of_folder.output)
    np.testing.assert_array_equal(left.obs.astype(str), right.obs.astype(str))
    np.testing.assert_array_equal(left.obsm["X_sctransformer"], right.obsm["X_sctransformer"])
    assert annotate_file(Model(bundle, "m", "1"), tmp_path / "cells2.zarr", tmp_path / "out").unchanged
    again = annotate_file(
        Model(bundle, "m", "1"), tmp_path / "cells2.zarr", tmp_path / "out", AnnotationSettings(threshold=0.9)
    )
    assert not again.unchanged
    assert anndata.read_zarr(again.output).uns["sctransformer"]["threshold"] == 0.9
