"""Batches of training cells. Order, hidden genes and thinning follow from the seed, for any number of processes.

torch's DistributedSampler samples a part of the cells for each process, so its batches depend on the number of
processes. Here each batch is sampled as a whole and then split.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sctransformer.data.arrays import CellArrays, CellSource, take
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.objectives import sample_shown_genes
from sctransformer.training.stream import ChunkSlice, ShuffleStream, shuffle_streams, stream_range
from sctransformer.training.thinning import thin_cells

_THINNING = 2
"""Key of the random numbers of thinning, distinct from the others of a step."""


@dataclass(frozen=True)
class Batch:
    """The cells of one process in a batch."""

    index: int
    """Number of the step in its pass over the cells."""
    size: int
    """Cells of the whole batch, over all processes."""
    rows_N: NDArray[np.int64]
    """Positions of the cells of this process among all cells."""
    all_rows: NDArray[np.int64]
    """Positions of the cells of the whole batch."""
    cells: CellArrays
    weight_N: Tensor
    """1 for a cell, 0 for padding: a process without cells of a batch gets one cell of zeros."""
    shown_NG: Tensor
    """1 for a gene that is shown, 0 for a hidden one, for the cells of this process."""
    hidden_G: Tensor
    """Number of cells of the whole batch in which each gene is hidden."""

    def split(self, n_parts: int) -> "Iterator[Batch]":
        """Split into parts, the same number on each process; the objectives of the parts add up to the whole."""
        for index in range(n_parts):
            rows = np.arange(index, len(self.weight_N), n_parts)
            weight_N = self.weight_N[rows]
            if len(rows) == 0:
                rows, weight_N = np.zeros(1, dtype=int), torch.zeros(1)
            yield replace(
                self,
                rows_N=self.rows_N[rows],
                cells=self.cells.take(rows),
                weight_N=weight_N,
                shown_NG=self.shown_NG[rows],
            )


@dataclass(frozen=True)
class Corruption:
    """What is hidden from the model in training."""

    hidden_share: float = 0.0
    """Fraction of a cell's genes that is hidden."""
    thinning: float = 0.0
    """Largest fraction of a cell's counts that is removed."""


def steps_per_pass(n_cells: int, batch_size: int) -> int:
    """Number of batches in one pass over all cells."""
    return -(-n_cells // batch_size)


def batches(
    parts: Sequence[CellSource],
    batch_size: int,
    corruption: Corruption,
    key: tuple[int, ...],
    group: ProcessGroup,
    first_step: int = 0,
) -> Iterator[Batch]:
    """Iterate over the batches of one pass: each cell once, in random order.

    Cells in memory are shuffled; cells on disk come in the order of `sctransformer.training.stream`. The next batch is
    read in a thread while one is computed.

    Args:
        parts: the cells.
        batch_size: cells per step over all processes; from disk it varies by a few cells.
        corruption: hidden genes and removed counts.
        key: seed, unique to this pass.
        group: which part of each batch this process gets.
        first_step: number of steps to skip, at no cost.
    """
    read = _read_memory if all(part.in_memory for part in parts) else _read_disk
    loaded = read(parts, batch_size, key, group, first_step)
    return _prefetch(_corrupt(one, corruption, key) for one in loaded)


@dataclass(frozen=True)
class _Loaded:
    """The cells of one process in a batch, as read."""

    index: int
    all_rows: NDArray[np.int64]
    """Positions of the cells of the whole batch among all cells."""
    places_N: NDArray[np.int64]
    """Positions of the cells of this process in the batch."""
    cells: CellArrays


def _read_memory(
    parts: Sequence[CellSource], batch_size: int, key: tuple[int, ...], group: ProcessGroup, first_step: int
) -> Iterator[_Loaded]:
    n_cells = sum(map(len, parts))
    order = np.random.default_rng(key).permutation(n_cells)
    for index in range(first_step, steps_per_pass(n_cells, batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size]
        places_N = np.arange(group.rank, len(rows), group.size)
        cells = take(parts, rows[places_N]) if len(places_N) else _padding(parts[0].n_genes)
        yield _Loaded(index, rows, places_N, cells)


def _read_disk(
    parts: Sequence[CellSource], batch_size: int, key: tuple[int, ...], group: ProcessGroup, first_step: int
) -> Iterator[_Loaded]:
    """Process r reads streams r, r + size, r + 2 size, ... and holds one chunk of each."""
    sizes = list(map(len, parts))
    streams, steps = shuffle_streams(sizes, key), steps_per_pass(sum(sizes), batch_size)
    open_chunks: dict[int, tuple[int, CellSource]] = {}

    def read(stream: ShuffleStream, piece: ChunkSlice) -> CellArrays:
        number, chunk = open_chunks.get(stream.index, (-1, None))
        if chunk is None or number != piece.chunk.number:
            chunk = parts[piece.chunk.part].chunk(piece.chunk.start, piece.chunk.stop)
            open_chunks[stream.index] = piece.chunk.number, chunk
        return chunk.take(piece.positions_N)

    for index in range(first_step, steps):
        rows, places, cells, size = [], [], [], 0
        for stream in streams:
            for piece in stream.slices(*stream_range(stream, len(streams), index, steps)):
                rows.append(piece.rows_N)
                if stream.index % group.size == group.rank:
                    places.append(np.arange(size, size + len(piece.positions_N)))
                    cells.append(read(stream, piece))
                size += len(piece.positions_N)
        loaded = _concatenate(cells) if cells else _padding(parts[0].n_genes)
        yield _Loaded(index, np.concatenate(rows), np.concatenate(places) if places else np.arange(0), loaded)


def _corrupt(loaded: _Loaded, corruption: Corruption, key: tuple[int, ...]) -> Batch:
    """Hide genes, sampled for the whole batch, and thin counts, with one seed per place in the batch."""
    all_rows, places_N, size = loaded.all_rows, loaded.places_N, len(loaded.all_rows)
    generator = step_generator(*key, loaded.index)
    all_shown = sample_shown_genes(generator, size, loaded.cells.n_genes, corruption.hidden_share)
    padded = len(places_N) == 0
    seeds = [(*key, loaded.index, _THINNING, int(place)) for place in places_N]
    return Batch(
        index=loaded.index,
        size=size,
        rows_N=all_rows[:1] if padded else all_rows[places_N],
        all_rows=all_rows,
        cells=thin_cells(loaded.cells, corruption.thinning, seeds),
        weight_N=torch.zeros(1) if padded else torch.ones(len(places_N)),
        shown_NG=all_shown[:1] if padded else all_shown[places_N],
        hidden_G=size - all_shown.sum(dim=0),
    )


def _padding(n_genes: int) -> CellArrays:
    """A cell of zeros for a process without cells of a batch: every process must take part in each step."""
    return CellArrays(
        np.zeros((1, n_genes), dtype=np.float32), np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.int64)
    )


def _concatenate(parts: Sequence[CellArrays]) -> CellArrays:
    return CellArrays(
        np.concatenate([part.counts_NG for part in parts]),
        np.concatenate([part.library_size_N for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
    )


def _prefetch(source: Iterator[Batch]) -> Iterator[Batch]:
    """Read the next batch in a thread while the current one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        following = pool.submit(next, source, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield batch


def step_generator(*key: int) -> torch.Generator:
    """A random generator for one step, seeded with numbers that no other step has."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))
