"""Scoring a file in chunks: counts are never held whole; only what is said of each cell is kept."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sctransformer.annotate.ahead import read_ahead
from sctransformer.annotate.genes import GeneMatch
from sctransformer.annotate.session import ScoringSession
from sctransformer.data.cells import CellFile
from sctransformer.data.library import LibrarySizes

CHUNK_CELLS = 512
"""Cells read at a time."""
BATCH_CELLS = 64
"""Cells a run of the graph. Attention needs cells x heads x genes x regulators floats a layer: larger is not faster."""

UNKNOWN = -1
"""In place of a class: the cell is rejected."""


@dataclass(frozen=True)
class Annotation:
    """What the model says of every cell of a file, in file order."""

    label_N: NDArray[np.int64]
    """Most likely class, as its position in `Bundle.labels`; UNKNOWN where rejected."""
    confidence_N: NDArray[np.float32]
    """Calibrated probability of the most likely class, also where rejected."""
    embedding_NE: NDArray[np.float32]
    """Cell embedding."""
    without_counts: int
    """Cells without a count in any gene of the panel: rejected whatever their confidence."""

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def rejected(self) -> int:
        """Number of rejected cells."""
        return int((self.label_N == UNKNOWN).sum())


class _Chunk(NamedTuple):
    counts_NG: NDArray[np.float32]
    library_size_N: NDArray[np.float32]


def score_file(
    file: CellFile,
    session: ScoringSession,
    match: GeneMatch,
    library_sizes: LibrarySizes,
    threshold: float,
    batch_cells: int = BATCH_CELLS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Annotation:
    """Score every cell of a file; reading overlaps scoring.

    Args:
        file: open, with at least one cell.
        threshold: cells under this confidence are rejected.
        batch_cells: cells a run of the graph; sets memory, not results.
        on_progress: called with the cells done and the cells there are.

    Raises:
        UserError: a value is no raw count, a library size makes no sense, or the file breaks off.
    """
    rows = max(CHUNK_CELLS // batch_cells, 1) * batch_cells
    labels, confidences, embeddings = [], [], []
    done = without_counts = 0
    with closing(read_ahead(_chunks(file, match, library_sizes, rows))) as chunks:
        for counts_NG, library_size_N in _batches(chunks, batch_cells):
            scores = session.score(counts_NG, library_size_N)
            confidence_N = scores.probabilities_NC.max(axis=1)
            empty_N = ~counts_NG.any(axis=1)
            rejected_N = empty_N | ~(confidence_N >= threshold)
            labels.append(np.where(rejected_N, UNKNOWN, scores.probabilities_NC.argmax(axis=1)))
            confidences.append(confidence_N)
            embeddings.append(scores.embedding_NE)
            without_counts += int(empty_N.sum())
            done += len(counts_NG)
            on_progress(done, file.n_cells)
    return Annotation(np.concatenate(labels), np.concatenate(confidences), np.concatenate(embeddings), without_counts)


def _batches(chunks: Iterator[_Chunk], cells: int) -> Iterator[_Chunk]:
    for chunk in chunks:
        for start in range(0, len(chunk.counts_NG), cells):
            part = slice(start, start + cells)
            yield _Chunk(chunk.counts_NG[part], chunk.library_size_N[part])


def _chunks(file: CellFile, match: GeneMatch, library_sizes: LibrarySizes, rows: int) -> Iterator[_Chunk]:
    for start, counts_NF in file.chunks(rows):
        yield _Chunk(match.gather(counts_NF), library_sizes.of_chunk(start, counts_NF).astype(np.float32))
