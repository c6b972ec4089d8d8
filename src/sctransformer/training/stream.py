"""The order of cells that are read from disk: a chunked shuffle, in which each process reads its own chunks.

The cells are cut into chunks of neighbours. For each pass the chunks are shuffled and dealt to shuffle streams. A batch
takes a fraction of every stream, so it mixes cells from as many places of the file as there are streams, and a process
reads the chunks of its streams only. The batches do not depend on the number of processes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK_CELLS = 128
"""Maximum number of cells per chunk."""
MAX_STREAMS = 64
"""Maximum number of streams over all processes. Each holds one chunk, so the buffer is MAX_STREAMS * CHUNK_CELLS."""
_CHUNK_ORDER, _CELL_ORDER = 11, 12
"""Keys of the random numbers here, distinct from those of batches."""


class Chunk(NamedTuple):
    """Neighbouring cells of one part."""

    number: int
    part: int
    start: int
    stop: int
    first_row: int
    """Position of its first cell among the cells of all parts."""


class ChunkSlice(NamedTuple):
    """The cells of a chunk that belong to one batch."""

    chunk: Chunk
    positions_N: NDArray[np.int64]
    """Positions in the chunk."""

    @property
    def rows_N(self) -> NDArray[np.int64]:
        """Positions among the cells of all parts."""
        return self.positions_N + self.chunk.first_row


@dataclass(frozen=True)
class ShuffleStream:
    """Chunks in shuffled order; the cells of each chunk are shuffled too."""

    index: int
    chunks: Sequence[Chunk]
    key: tuple[int, ...]
    """Seed of the order of cells within chunks."""

    def __len__(self) -> int:
        return int(self._chunk_ends[-1])

    def slices(self, start: int, stop: int) -> list[ChunkSlice]:
        """The cells from position `start` up to `stop`, as slices of chunks."""
        found = []
        index = int(np.searchsorted(self._chunk_ends, start, side="right"))
        while start < stop:
            chunk, end = self.chunks[index], int(self._chunk_ends[index])
            size = chunk.stop - chunk.start
            first, last = start - (end - size), min(stop - (end - size), size)
            found.append(ChunkSlice(chunk, _cell_order(self.key, chunk.number, size)[first:last]))
            start, index = end, index + 1
        return found

    @functools.cached_property
    def _chunk_ends(self) -> NDArray[np.int64]:
        return np.cumsum([chunk.stop - chunk.start for chunk in self.chunks])


@functools.lru_cache(maxsize=2 * MAX_STREAMS)
def _cell_order(key: tuple[int, ...], chunk_number: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((*key, _CELL_ORDER, chunk_number)).permutation(size)


def shuffle_streams(sizes: Sequence[int], key: tuple[int, ...]) -> list[ShuffleStream]:
    """Deal all cells to shuffle streams, for one pass over them.

    Args:
        sizes: number of cells per part.
        key: seed, unique to this pass.
    """
    total = sum(sizes)
    chunk_cells = max(1, min(CHUNK_CELLS, -(-total // MAX_STREAMS)))
    chunks: list[Chunk] = []
    offset = 0
    for part, size in enumerate(sizes):
        for start in range(0, size, chunk_cells):
            chunks.append(Chunk(len(chunks), part, start, min(start + chunk_cells, size), offset + start))
        offset += size
    order = np.random.default_rng((*key, _CHUNK_ORDER)).permutation(len(chunks))
    count = min(MAX_STREAMS, len(chunks))
    return [ShuffleStream(index, [chunks[chunk] for chunk in order[index::count]], key) for index in range(count)]


def stream_range(stream: ShuffleStream, n_streams: int, step: int, steps: int) -> tuple[int, int]:
    """The positions of a stream that belong to the batch of a step, start and stop.

    Stream i is shifted by i / n_streams of a cell, so batch sizes differ by about one cell (Hermite's identity:
    floor(x) + floor(x + 1/n) + ... + floor(x + (n - 1)/n) = floor(n x)), and each stream is read once in `steps` steps.
    """
    size = len(stream)

    def position(steps_done: int) -> int:
        return (size * steps_done * n_streams + stream.index * steps) // (steps * n_streams)

    return position(step), position(step + 1)
