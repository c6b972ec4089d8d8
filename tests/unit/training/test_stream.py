"""Cells read from disk: each cell once per pass, each chunk in one process, batches as with one process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer._constants import OBS
from sctransformer.data.arrays import NO_LABEL, CellArrays
from sctransformer.data.backed_cells import BackedCells
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import fits_in_memory, labelled_cells, load_training_cells, open_training_cells
from sctransformer.errors import UserError
from sctransformer.training import stream
from sctransformer.training.batches import Corruption, batches, steps_per_pass
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.execution import Execution
from sctransformer.training.stream import shuffle_streams, stream_range
from tests.conftest import arrays, simulated_cells
from tests.unit.training.training_runs import PRETRAINED, assert_same_weights, trained

CORRUPTION = Corruption(0.3, 0.5)


@pytest.fixture(params=["h5ad", "zarr"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """700 cells of all splits, with 100 consecutive validation cells in the middle."""
    cells = simulated_cells(700)
    split = np.resize(["train", "validation", "train", "unlabelled", "test"], 700).astype(object)
    split[300:400] = "validation"
    cells.obs[OBS.split] = pd.Categorical(split)
    path = tmp_path / f"cells.{request.param}"
    if request.param == "h5ad":
        cells.write_h5ad(path, compression="gzip")
    else:
        cells.write_zarr(path)
    return path


def test_cells_on_disk_equal_cells_in_memory(stored: Path) -> None:
    rng = np.random.default_rng(0)
    for here, there in zip(load_training_cells(stored), open_training_cells(stored), strict=True):
        assert (len(here), here.n_genes, there.in_memory) == (len(there), there.n_genes, False)
        np.testing.assert_array_equal(here.labels_N, there.labels_N)
        rows = rng.permutation(len(here))[:50]
        for ours, theirs in (
            (here.take(rows), there.take(rows)),
            (here.take(np.arange(len(here))), there.take(np.arange(len(here)))),
            (here.chunk(20, 90).take(rows[rows < 70]), there.chunk(20, 90).take(rows[rows < 70])),
            (here.chunk(20, 90).chunk(5, 9).take(np.arange(4)), there.chunk(20, 90).chunk(5, 9).take(np.arange(4))),
        ):
            np.testing.assert_array_equal(ours.counts_NG, theirs.counts_NG)
            np.testing.assert_array_equal(ours.library_size_N, theirs.library_size_N)
            np.testing.assert_array_equal(ours.labels_N, theirs.labels_N)


def test_all_labelled_cells_are_those_of_three_splits_in_file_order(stored: Path) -> None:
    split = np.asarray(read_cells(stored).obs[OBS.split])
    every_N = arrays(simulated_cells(700)).labels_N
    for in_memory in (True, False):
        cells = labelled_cells(stored, in_memory)
        assert cells.validation is None
        assert cells.training.in_memory == in_memory
        np.testing.assert_array_equal(cells.training.labels_N, every_N[split != "unlabelled"])
        assert set(cells.unlabelled.labels_N.tolist()) == {NO_LABEL}
        rows = np.array([0, 5, 300])
        counts_NG = arrays(simulated_cells(700)).counts_NG[np.flatnonzero(split != "unlabelled")[rows]]
        np.testing.assert_array_equal(cells.training.take(rows).counts_NG, counts_NG)


def test_a_truncated_file_is_named(stored: Path) -> None:
    cells = open_training_cells(stored).training
    if stored.is_dir():
        for file in sorted((stored / "X" / "data").rglob("*")):
            if file.is_file() and not file.name.startswith((".", "zarr")):
                file.write_bytes(b"cut")
    else:
        stored.write_bytes(stored.read_bytes()[:20_000])
    with pytest.raises(UserError, match=r"X cannot be read at row 0 .*run `dvc repro`"):
        cells.take(np.arange(3))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) > 0),
    batch_size=st.integers(1, 200),
    n_processes=st.integers(1, 5),
    key=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    chunk_cells=st.integers(1, 40),
    max_streams=st.integers(1, 9),
)
def test_each_cell_once_per_pass_and_each_chunk_in_one_process(
    sizes: list[int], batch_size: int, n_processes: int, key: tuple[int, int], chunk_cells: int, max_streams: int
) -> None:
    """For any sizes, with batches of about equal size."""
    before, stream.CHUNK_CELLS, stream.MAX_STREAMS = (stream.CHUNK_CELLS, stream.MAX_STREAMS), chunk_cells, max_streams
    try:
        streams = shuffle_streams(sizes, key)
    finally:
        stream.CHUNK_CELLS, stream.MAX_STREAMS = before
    steps = steps_per_pass(sum(sizes), batch_size)
    seen: list[int] = []
    for step in range(steps):
        rows = [
            int(row)
            for one in streams
            for piece in one.slices(*stream_range(one, len(streams), step, steps))
            for row in piece.rows_N
        ]
        assert abs(len(rows) - sum(sizes) / steps) <= len(streams)
        seen += rows
    assert sorted(seen) == list(range(sum(sizes)))
    chunks = [{piece.chunk.number for piece in one.slices(0, len(one))} for one in streams]
    for rank in range(n_processes):
        own = set().union(*chunks[rank::n_processes])
        others = set().union(*(read for number, read in enumerate(chunks) if number % n_processes != rank))
        assert not own & others


def on_disk_source(cells: CellArrays, path: Path) -> BackedCells:
    """Cells of `simulated_cells` on disk."""
    return BackedCells(path, np.arange(len(cells)), cells.library_size_N, cells.labels_N, cells.n_genes)


@pytest.fixture
def on_disk(tmp_path: Path) -> BackedCells:
    """3,000 cells, sorted by type as files often are."""
    cells = simulated_cells(3000)
    cells = cells[np.argsort(cells.obs[OBS.cell_type].cat.codes, kind="stable")].copy()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return on_disk_source(arrays(cells), tmp_path / "cells.h5ad")


@pytest.mark.parametrize("size", [2, 3])
def test_batches_are_the_same_for_any_number_of_processes(on_disk: BackedCells, size: int) -> None:
    """Cells, hidden genes, thinned counts and sizes; the order within a batch differs."""
    whole = list(batches([on_disk], 64, CORRUPTION, (0, 1), ProcessGroup()))
    assert len(whole) == steps_per_pass(3000, 64)
    parts = [list(batches([on_disk], 64, CORRUPTION, (0, 1), ProcessGroup(rank, size))) for rank in range(size)]
    for index, batch in enumerate(whole):
        shares = [part[index] for part in parts]
        assert abs(batch.size - 64) <= 2
        assert {share.size for share in shares} == {batch.size}
        assert sorted(np.concatenate([share.rows_N for share in shares])) == sorted(batch.rows_N)
        assert max(len(share.rows_N) for share in shares) <= batch.size / size + 2
        where = {row: number for number, row in enumerate(batch.rows_N)}
        for share_ in shares:
            same = [where[row] for row in share_.rows_N]
            np.testing.assert_array_equal(share_.cells.counts_NG, batch.cells.counts_NG[same])
            np.testing.assert_array_equal(share_.shown_NG, batch.shown_NG[same])
            np.testing.assert_array_equal(share_.cells.labels_N, on_disk.labels_N[share_.rows_N])


def test_batches_mix_a_sorted_file_and_differ_between_epochs(on_disk: BackedCells) -> None:
    first, again, other = (
        [batch.rows_N for batch in batches([on_disk], 64, Corruption(), (0, epoch), ProcessGroup())]
        for epoch in (0, 0, 1)
    )
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    for rows in first:
        assert np.bincount(on_disk.labels_N[rows], minlength=3).min() > 64 / 3 * 0.5


def test_a_stream_starts_at_any_step(on_disk: BackedCells) -> None:
    whole = list(batches([on_disk], 64, CORRUPTION, (0, 1), ProcessGroup(1, 2)))
    for first in (20, len(whole) - 1):
        left = list(batches([on_disk], 64, CORRUPTION, (0, 1), ProcessGroup(1, 2), first))
        assert [batch.index for batch in left] == list(range(first, len(whole)))
        for ours, theirs in zip(left, whole[first:], strict=True):
            np.testing.assert_array_equal(ours.rows_N, theirs.rows_N)
            np.testing.assert_array_equal(ours.cells.counts_NG, theirs.cells.counts_NG)


@pytest.mark.slow
def test_training_from_disk_learns_and_resumes_within_an_epoch(tmp_path: Path) -> None:
    """With pretraining on labelled and unlabelled cells, and validation cells on disk."""
    config = PRETRAINED.replace(pretrain_epochs=1, epochs=3, min_steps=0)
    sources = []
    for seed in range(3):
        cells = simulated_cells(150, seed)
        cells.write_h5ad(tmp_path / f"{seed}.h5ad")
        sources.append(on_disk_source(arrays(cells), tmp_path / f"{seed}.h5ad"))
    sources[2].labels_N[:] = -1
    execution = Execution(checkpoint_steps=2)
    whole = trained(config, None, *sources, execution)
    assert whole.reports[-1].val_macro_f1 > 0.9
    for checkpoint in whole.within_epochs[::3]:
        assert_same_weights(trained(config, checkpoint, *sources, execution).weights, whole.weights)


def test_cells_fit_in_memory_by_their_size() -> None:
    assert fits_in_memory(100_000, 1024)
    assert not fits_in_memory(200_000, 1024)
