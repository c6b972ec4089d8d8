"""Scoring cells in chunks: reading overlaps scoring, and the counts are never in memory as a whole."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from sctransformer.annotation.labelling import BATCH_CELLS, CellLabels, Labeller, join_labels
from sctransformer.annotation.prefetch import prefetch
from sctransformer.annotation.reading import CheckedCells
from sctransformer.annotation.shards import Shard, ShardPlan, ShardStore
from sctransformer.data.normalise import log1p_cp10k

CHUNK_CELLS = 512
"""Cells read at a time."""
Progress = Callable[[int, int], None]
"""Called with the number of cells done and the number of all cells."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def plan_shards(n_cells: int, batch_cells: int) -> ShardPlan:
    """How a file is split: chunks are a multiple of the batch, so that batches stay whole."""
    return ShardPlan(n_cells, _chunk_cells(batch_cells), batch_cells)


def score_shards(
    read: CheckedCells,
    labeller: Labeller,
    store: ShardStore,
    wanted: Sequence[int],
    on_progress: Progress = no_progress,
) -> None:
    """Score some shards of the cells.

    Args:
        read: the cells, at least one.
        labeller: for their genes.
        store: receives the shards; its plan tells how the cells are split.
        wanted: numbers of the shards to score, in order.
        on_progress: called with the number of cells done, those of the other shards included.

    Raises:
        UserError: a value is not a raw count, a library size is wrong, the file is damaged, or a shard cannot be
            written.
    """
    plan = store.plan
    done = plan.cells - sum(len(plan.rows(shard)) for shard in wanted)
    on_progress(done, plan.cells)
    starts = [start for shard in wanted for start in plan.chunk_starts(shard)]
    with closing(_batches(read, labeller, plan.chunk_cells, plan.batch_cells, starts)) as batches:
        for shard in wanted:
            left, parts = len(plan.rows(shard)), []
            while left:
                counts_NG, labels = next(batches)
                parts.append((labels, *_gene_sums(counts_NG, labels.library_size_N)))
                left -= len(labels)
                done += len(labels)
                on_progress(done, plan.cells)
            store.write(shard, _shard(*zip(*parts, strict=True)))


def label_all(
    read: CheckedCells, labeller: Labeller, batch_cells: int = BATCH_CELLS, on_progress: Progress = no_progress
) -> CellLabels:
    """Label all cells and keep the labels in memory.

    Args:
        read: the cells, at least one.
        labeller: for their genes.
        batch_cells: cells per run of the graph.
        on_progress: called with the number of cells done.

    Raises:
        UserError: as `score_shards`.
    """
    parts, done, total = [], 0, read.cells.n_cells
    on_progress(done, total)
    with closing(_batches(read, labeller, _chunk_cells(batch_cells), batch_cells, None)) as batches:
        for _, labels in batches:
            parts.append(labels)
            done += len(labels)
            on_progress(done, total)
    return join_labels(parts)


def _chunk_cells(batch_cells: int) -> int:
    return max(CHUNK_CELLS // batch_cells, 1) * batch_cells


def _batches(
    read: CheckedCells, labeller: Labeller, chunk_cells: int, batch_cells: int, starts: Sequence[int] | None
) -> Generator[tuple[NDArray[np.float32], CellLabels]]:
    """Counts and labels of one batch after another; the next chunks are read meanwhile."""
    with closing(prefetch(read.chunks(chunk_cells, starts))) as chunks:
        for counts_NG, library_size_N in chunks:
            for start in range(0, len(counts_NG), batch_cells):
                rows = slice(start, start + batch_cells)
                yield counts_NG[rows], labeller.score(counts_NG[rows], library_size_N[rows])


def _gene_sums(
    counts_NG: NDArray[np.float32], library_size_N: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per gene: the number of cells that express it, and the sum of its expression."""
    expression_NG = log1p_cp10k(counts_NG, library_size_N)
    return (counts_NG > 0).sum(axis=0, dtype=np.int64), expression_NG.sum(axis=0, dtype=np.float64)


def _shard(
    parts: Sequence[CellLabels], detected: Sequence[NDArray[np.int64]], expression: Sequence[NDArray[np.float64]]
) -> Shard:
    labels = vars(join_labels(parts))
    return Shard(**labels, detected_G=np.sum(detected, axis=0), expression_G=np.sum(expression, axis=0))
