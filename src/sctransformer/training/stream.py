"""The order in which cells that stay on disk are seen: random, in chunks, each process reading its own.

Cells are dealt to lanes in chunks of neighbours, the chunks in an order drawn anew for each pass. A batch takes a share
of every lane, so it mixes cells of as many places of the file as there are lanes, and a process reads the chunks of its
lanes alone. What a batch holds does not depend on the number of processes: only who computes which part of it does.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 128
"""Cells of a chunk, at most."""
LANES = 64
"""Chunks that are open at once, over all processes: the buffer holds no more than LANES * CHUNK cells."""
_ORDER, _WITHIN = 11, 12
"""Keys of the random numbers here, apart from those of batches."""


class Chunk(NamedTuple):
    """Neighbours in one of the parts."""

    number: int
    part: int
    start: int
    stop: int
    first_row: int
    """Position of its first cell among the cells of all parts."""


class ChunkSlice(NamedTuple):
    """Cells of one chunk that go into one batch."""

    chunk: Chunk
    inside_N: NDArray[np.int64]
    """Their positions in the chunk."""

    @property
    def rows_N(self) -> NDArray[np.int64]:
        """Their positions among the cells of all parts."""
        return self.inside_N + self.chunk.first_row


@dataclass(frozen=True)
class ShuffleStream:
    """Chunks that are gone through one after another."""

    number: int
    chunks: Sequence[Chunk]
    key: tuple[int, ...]

    def __len__(self) -> int:
        return int(self._ends_C[-1])

    def pieces(self, begin: int, end: int) -> list[ChunkSlice]:
        """The cells from position `begin` to before `end` of this lane."""
        found = []
        index = int(np.searchsorted(self._ends_C, begin, side="right"))
        while begin < end:
            chunk, after = self.chunks[index], int(self._ends_C[index])
            size = chunk.stop - chunk.start
            first, last = begin - (after - size), min(end - (after - size), size)
            found.append(ChunkSlice(chunk, _order_within(self.key, chunk.number, size)[first:last]))
            begin, index = after, index + 1
        return found

    @functools.cached_property
    def _ends_C(self) -> NDArray[np.int64]:
        return np.cumsum([chunk.stop - chunk.start for chunk in self.chunks])


@functools.lru_cache(maxsize=2 * LANES)
def _order_within(key: tuple[int, ...], number: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng((*key, _WITHIN, number)).permutation(size)


def lanes(sizes: Sequence[int], key: tuple[int, ...]) -> list[ShuffleStream]:
    """All cells dealt to lanes, for one pass over them.

    Args:
        sizes: cells of each part.
        key: seed, pass, and what else tells this pass from all others.
    """
    total = sum(sizes)
    rows = max(1, min(CHUNK, -(-total // LANES)))
    chunks: list[Chunk] = []
    offset = 0
    for part, size in enumerate(sizes):
        for start in range(0, size, rows):
            chunks.append(Chunk(len(chunks), part, start, min(start + rows, size), offset + start))
        offset += size
    order = np.random.default_rng((*key, _ORDER)).permutation(len(chunks))
    count = min(LANES, len(chunks))
    return [ShuffleStream(lane, [chunks[index] for index in order[lane::count]], key) for lane in range(count)]


def share(lane: ShuffleStream, count: int, step: int, steps: int) -> tuple[int, int]:
    """Which cells of a lane the batch of a step takes, first and one past the last.

    Lanes are out of step with one another by a `count`-th of a cell, so that batches differ in size by a cell or so
    (Hermite's identity: the floors of x + i/n, i = 0 ... n-1, add up to the floor of n x) while every lane is gone
    through from its first cell to its last in the same number of steps.
    """
    size = len(lane)

    def reached(done: int) -> int:
        return (size * done * count + lane.number * steps) // (steps * count)

    return reached(step), reached(step + 1)
