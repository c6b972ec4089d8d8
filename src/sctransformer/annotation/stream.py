"""Scoring a file in chunks: counts are never held whole, and what is said of cells goes to the disk by shards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.annotation.genes import GeneMatch
from sctransformer.annotation.prefetch import prefetch
from sctransformer.annotation.session import ScoringSession, score_as_served
from sctransformer.annotation.shards import Shard, ShardPlan, ShardStore
from sctransformer.data.cells import CellFile
from sctransformer.data.library_size import LibrarySizes
from sctransformer.data.normalise import log1p_cp10k

CHUNK_CELLS = 512
"""Cells read at a time."""
BATCH_CELLS = 64
"""Cells a run of the graph. Attention needs cells x heads x genes x regulators floats a layer: larger is not faster."""


class _Chunk(NamedTuple):
    counts_NG: NDArray[np.float32]
    library_size_N: NDArray[np.float32]


def plan_shards(n_cells: int, batch_cells: int) -> ShardPlan:
    """How a file is cut: chunks are a multiple of the batch, so that batches stay whole."""
    return ShardPlan(n_cells, max(CHUNK_CELLS // batch_cells, 1) * batch_cells, batch_cells)


def score_file(
    file: CellFile,
    session: ScoringSession,
    match: GeneMatch,
    library_sizes: LibrarySizes,
    store: ShardStore,
    wanted: Sequence[int],
    vocabulary: pd.DataFrame | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Score the cells of some shards of a file; reading overlaps scoring.

    Args:
        file: open, with at least one cell.
        store: where shards go; its plan says how the file is cut.
        wanted: numbers of the shards to make, in order.
        vocabulary: of the bundle, to fill in genes that the file lacks; None leaves them zero.
        on_progress: called with the cells done, those of the other shards among them, and the cells there are.

    Raises:
        UserError: a value is no raw count, a library size makes no sense, the file breaks off, or a shard cannot be
            written.
    """
    plan = store.plan
    done = plan.cells - sum(len(plan.rows(shard)) for shard in wanted)
    on_progress(done, plan.cells)
    starts = [start for shard in wanted for start in plan.chunk_starts(shard)]
    with closing(prefetch(_chunks(file, match, library_sizes, plan.chunk_cells, starts))) as chunks:
        for shard in wanted:
            parts = []
            for _ in plan.chunk_starts(shard):
                for batch in _batches(next(chunks), plan.batch_cells):
                    parts.append(_scored(session, batch, match, vocabulary))
                    done += len(batch.counts_NG)
                    on_progress(done, plan.cells)
            store.write(shard, _joined(parts))


def _scored(session: ScoringSession, batch: _Chunk, match: GeneMatch, vocabulary: pd.DataFrame | None) -> Shard:
    counts_NG, library_size_N = batch
    if vocabulary is None:
        scores = session.score(counts_NG, library_size_N)
    else:
        scores = score_as_served(session, counts_NG, library_size_N, match, vocabulary)
    return Shard(
        label_N=scores.probabilities_NC.argmax(axis=1).astype(np.int32),
        confidence_N=scores.probabilities_NC.max(axis=1),
        embedding_NE=scores.embedding_NE,
        library_size_N=library_size_N,
        counted_N=np.asarray(counts_NG.any(axis=1)),
        detected_G=(counts_NG > 0).sum(axis=0, dtype=np.int64),
        expression_G=log1p_cp10k(counts_NG, library_size_N).sum(axis=0, dtype=np.float64),
    )


def _joined(parts: list[Shard]) -> Shard:
    def every(name: str) -> NDArray:
        return np.concatenate([getattr(part, name) for part in parts])

    by_cell = {name: every(name) for name in ("label_N", "confidence_N", "embedding_NE", "library_size_N", "counted_N")}
    detected_G = np.sum([part.detected_G for part in parts], axis=0)
    return Shard(**by_cell, detected_G=detected_G, expression_G=np.sum([part.expression_G for part in parts], axis=0))


def _batches(chunk: _Chunk, cells: int) -> Iterator[_Chunk]:
    for start in range(0, len(chunk.counts_NG), cells):
        part = slice(start, start + cells)
        yield _Chunk(chunk.counts_NG[part], chunk.library_size_N[part])


def _chunks(
    file: CellFile, match: GeneMatch, library_sizes: LibrarySizes, rows: int, starts: Sequence[int]
) -> Iterator[_Chunk]:
    for start, counts_NF in file.chunks(rows, starts):
        yield _Chunk(match.gather(counts_NF), library_sizes.of_chunk(start, counts_NF).astype(np.float32))
