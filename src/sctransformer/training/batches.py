"""The cells of each step: order and hidden genes follow from (seed, phase, pass, step), whoever computes them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sctransformer.data.arrays import CellArrays, CellSource, take
from sctransformer.training.distributed import World
from sctransformer.training.objectives import kept_genes
from sctransformer.training.stream import ChunkSlice, ShuffleStream, lanes, share
from sctransformer.training.thinning import thinned

THINNING = 2
"""Tells the random numbers with which counts are thinned from all others of a step."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch."""

    index: int
    """Of the step in its pass over the cells."""
    size: int
    """Cells of the whole batch, over all processes."""
    rows_N: NDArray[np.int64]
    """Of the cells of this share, their position among all cells."""
    all_rows_N: NDArray[np.int64]
    """The same of the whole batch."""
    cells: CellArrays
    weight_N: Tensor
    """1 for a cell, 0 where the share was padded to be no emptier than the others."""
    shown_NG: Tensor
    """1 for a gene that is shown, 0 for one that is hidden, of the cells of this share."""
    hidden_G: Tensor
    """In how many cells of the whole batch each gene is hidden."""

    def split(self, parts: int) -> "Iterator[Batch]":
        """The same in parts, of which each process has as many: objectives of the parts add up to that of the whole."""
        for index in range(parts):
            mine = np.arange(index, len(self.weight_N), parts)
            weight_N = self.weight_N[mine]
            if len(mine) == 0:
                mine, weight_N = np.zeros(1, dtype=int), torch.zeros(1)
            yield replace(
                self,
                rows_N=self.rows_N[mine],
                cells=self.cells.take(mine),
                weight_N=weight_N,
                shown_NG=self.shown_NG[mine],
            )


def steps_a_pass(n_cells: int, batch_size: int) -> int:
    """Steps in which all cells are seen once."""
    return -(-n_cells // batch_size)


def batches(
    parts: Sequence[CellSource],
    batch_size: int,
    hidden_share: float,
    key: tuple[int, ...],
    world: World,
    first: int = 0,
    thinning: float = 0.0,
) -> Iterator[Batch]:
    """All cells of `parts` once; their order, hidden genes and thinned counts are drawn for the whole batch.

    So the result does not depend on the number of processes. Cells in memory come in an order in which each is as
    likely as any other; cells that stay on disk as `training.stream` says. While a batch is computed the next is read.

    Args:
        parts: cells, in pieces.
        batch_size: cells a step, over all processes; from disk a few more or less.
        hidden_share: share of a cell's genes that is hidden.
        key: seed, pass, and what else tells this pass from all others.
        world: which share is this process's.
        first: steps to pass over, which cost nothing.
        thinning: largest share of a cell's counts that is taken away.
    """
    drawn = _from_memory if all(part.in_memory for part in parts) else _from_disk
    return _ahead(_altered(taken, hidden_share, thinning, key) for taken in drawn(parts, batch_size, key, world, first))


@dataclass(frozen=True)
class _Taken:
    """The cells of one process's share of a batch, as they were read."""

    index: int
    rows_B: NDArray[np.int64]
    """Of the whole batch, their position among all cells."""
    mine_N: NDArray[np.int64]
    """Of the cells of this share, their position in the batch."""
    cells: CellArrays


def _from_memory(
    parts: Sequence[CellSource], batch_size: int, key: tuple[int, ...], world: World, first: int
) -> Iterator[_Taken]:
    n_cells = sum(map(len, parts))
    order = np.random.default_rng(key).permutation(n_cells)
    for index in range(first, steps_a_pass(n_cells, batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size]
        mine = np.arange(world.rank, len(rows), world.size)
        cells = take(parts, rows[mine]) if len(mine) else _padding(parts[0].n_genes)
        yield _Taken(index, rows, mine, cells)


def _from_disk(
    parts: Sequence[CellSource], batch_size: int, key: tuple[int, ...], world: World, first: int
) -> Iterator[_Taken]:
    """Lanes are dealt to processes in turn; a process holds one chunk of each of its lanes."""
    sizes = list(map(len, parts))
    dealt, steps = lanes(sizes, key), steps_a_pass(sum(sizes), batch_size)
    held: dict[int, tuple[int, CellSource]] = {}

    def read(lane: ShuffleStream, piece: ChunkSlice) -> CellArrays:
        number, chunk = held.get(lane.number, (-1, None))
        if chunk is None or number != piece.chunk.number:
            chunk = parts[piece.chunk.part].chunk(piece.chunk.start, piece.chunk.stop)
            held[lane.number] = piece.chunk.number, chunk
        return chunk.take(piece.inside_N)

    for index in range(first, steps):
        rows, mine, taken, before = [], [], [], 0
        for lane in dealt:
            for piece in lane.pieces(*share(lane, len(dealt), index, steps)):
                rows.append(piece.rows_N)
                if lane.number % world.size == world.rank:
                    mine.append(np.arange(before, before + len(piece.inside_N)))
                    taken.append(read(lane, piece))
                before += len(piece.inside_N)
        cells = _joined(taken) if taken else _padding(parts[0].n_genes)
        yield _Taken(index, np.concatenate(rows), np.concatenate(mine) if mine else np.arange(0), cells)


def _altered(taken: _Taken, hidden_share: float, thinning: float, key: tuple[int, ...]) -> Batch:
    """The share of this process; hidden genes are drawn for the whole batch, thinned counts for each place in it."""
    rows_B, mine_N = taken.rows_B, taken.mine_N
    shown_BG = kept_genes(step_generator(*key, taken.index), len(rows_B), taken.cells.n_genes, hidden_share)
    padded = len(mine_N) == 0  # compute, and count for nothing
    return Batch(
        index=taken.index,
        size=len(rows_B),
        rows_N=rows_B[:1] if padded else rows_B[mine_N],
        all_rows_N=rows_B,
        cells=thinned(taken.cells, thinning, [(*key, taken.index, THINNING, int(place)) for place in mine_N]),
        weight_N=torch.zeros(1) if padded else torch.ones(len(mine_N)),
        shown_NG=shown_BG[:1] if padded else shown_BG[mine_N],
        hidden_G=len(rows_B) - shown_BG.sum(dim=0),
    )


def _padding(n_genes: int) -> CellArrays:
    """A cell for a process without one: it must take part in the step."""
    return CellArrays(
        np.zeros((1, n_genes), dtype=np.float32), np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.int64)
    )


def _joined(parts: Sequence[CellArrays]) -> CellArrays:
    return CellArrays(
        np.concatenate([part.counts_NG for part in parts]),
        np.concatenate([part.library_size_N for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
    )


def _ahead(drawn: Iterator[Batch]) -> Iterator[Batch]:
    """The same, the next one always under way in a thread of its own."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        following = pool.submit(next, drawn, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, drawn, None)
            yield batch


def step_generator(*key: int) -> torch.Generator:
    """A generator for one step, from numbers that no other step has."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))
