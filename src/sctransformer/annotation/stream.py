"""Scoring cells in chunks: reading, scoring and writing overlap, and the counts are never in memory as a whole."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.labelling import CellLabels, Labeller, join_labels
from sctransformer.annotation.parallel import in_order
from sctransformer.annotation.prefetch import prefetch
from sctransformer.annotation.reading import CheckedCells
from sctransformer.annotation.shards import Shard, ShardPlan, ShardStore
from sctransformer.data.normalise import log1p_cp10k

CHUNK_CELLS = 512
"""Cells read at a time."""
Progress = Callable[[int, int], None]
"""Called with the number of cells done and the number of all cells."""


class Batch(NamedTuple):
    """Cells that a thread scores at a time. N: cells, G: genes of the vocabulary, R: regulators."""

    counts_NG: sparse.csr_matrix
    """Raw counts."""
    library_size_N: NDArray[np.float32]
    mrna_NR: NDArray[np.float32] | None
    """The regulators' own mRNA; None if it is not wanted."""
    panel_N: NDArray[np.int16] | None
    """Panel of each cell; None where all cells have the same genes."""


_Part = tuple[CellLabels, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]
"""Labels of a batch, its sums of activities (see `Labeller.score_and_sum`), and its `_gene_sums`."""


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
    batches = _batches(read, plan.chunk_cells, plan.batch_cells, starts, labeller)

    def work(batch: Batch) -> _Part:
        return *labeller.score_and_sum(*batch), *_gene_sums(batch)

    written: Future[None] | None = None
    with (
        ThreadPoolExecutor(1, thread_name_prefix="shards") as writer,  # the last shard is written also after an error
        closing(batches),
        closing(in_order(work, batches, labeller.threads)) as scored,
    ):
        for shard in wanted:
            left, parts = len(plan.rows(shard)), list[_Part]()
            while left:
                parts.append(next(scored))
                cells = len(parts[-1][0])
                left, done = left - cells, done + cells
                on_progress(done, plan.cells)
            if written is not None:
                written.result()
            written = writer.submit(store.write, shard, _shard(*zip(*parts, strict=True)))
        if written is not None:
            written.result()


def label_all(
    read: CheckedCells, labeller: Labeller, batch_cells: int, on_progress: Progress = no_progress
) -> CellLabels:
    """Label all cells and keep the labels in memory.

    Args:
        read: the cells, at least one.
        labeller: for their genes.
        batch_cells: cells per batch, see `ScoringSession.batch_cells`.
        on_progress: called with the number of cells done.

    Raises:
        UserError: as `score_shards`.
    """
    parts, done, total = [], 0, read.cells.n_cells
    on_progress(done, total)
    batches = _batches(read, _chunk_cells(batch_cells), batch_cells, None, labeller)
    with (
        closing(batches),
        closing(in_order(lambda batch: labeller.score(*batch), batches, labeller.threads)) as scored,
    ):
        for labels in scored:
            parts.append(labels)
            done += len(labels)
            on_progress(done, total)
    return join_labels(parts)


def activity_of_all(read: CheckedCells, labeller: Labeller, batch_cells: int) -> NDArray[np.float32]:
    """Activity of each regulator in all cells, cells x regulators, as the graph computes it.

    Args:
        read: the cells, at least one.
        labeller: for their genes, with the model's regulators.
        batch_cells: cells per batch, see `ScoringSession.batch_cells`.

    Raises:
        UserError: as `score_shards`.
    """
    batches = _batches(read, _chunk_cells(batch_cells), batch_cells, None, labeller)
    with (
        closing(batches),
        closing(in_order(lambda batch: labeller.scores(*batch[:2]), batches, labeller.threads)) as scored,
    ):
        return np.concatenate([scores.activity_NR for scores in scored if scores.activity_NR is not None])


def _chunk_cells(batch_cells: int) -> int:
    return max(CHUNK_CELLS // batch_cells, 1) * batch_cells


def _batches(
    read: CheckedCells, chunk_cells: int, batch_cells: int, starts: Sequence[int] | None, labeller: Labeller
) -> Generator[Batch]:
    """One batch after another; the next chunks are read meanwhile."""
    regulators = labeller.regulators
    own = None if regulators is None else regulators.own
    with closing(prefetch(read.chunks(chunk_cells, starts, own))) as chunks:
        for counts_NG, library_size_N, own_NR, panel_N in chunks:
            mrna_NR = None
            if regulators is not None and own_NR is not None:
                mrna_NR = regulators.mrna(own_NR, library_size_N)
            for start in range(0, len(library_size_N), batch_cells):
                rows = slice(start, start + batch_cells)
                yield Batch(
                    counts_NG[rows],
                    library_size_N[rows],
                    None if mrna_NR is None else mrna_NR[rows],
                    None if panel_N is None else panel_N[rows],
                )


def _gene_sums(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per gene: the number of cells that express it, and the sum of its expression; from the stored counts alone."""
    gene_P, n_genes = batch.counts_NG.indices, batch.counts_NG.shape[1]
    expression_P = log1p_cp10k(batch.counts_NG, batch.library_size_N).data
    detected_G = np.bincount(gene_P, minlength=n_genes).astype(np.int64)
    return detected_G, np.bincount(gene_P, expression_P, n_genes).astype(np.float64)


def _shard(
    parts: Sequence[CellLabels],
    activities: Sequence[NDArray[np.float64]],
    detected: Sequence[NDArray[np.int64]],
    expression: Sequence[NDArray[np.float64]],
) -> Shard:
    return Shard(
        **vars(join_labels(parts)),
        detected_G=np.sum(detected, axis=0),
        expression_G=np.sum(expression, axis=0),
        activity_sum_CR=np.sum(activities, axis=0),
    )
