"""The cells of each step: order and hidden genes follow from (seed, phase, pass, step), whoever computes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sctransformer.data.arrays import CellArrays, take
from sctransformer.training.objectives import kept_genes
from sctransformer.training.world import World


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


def steps_a_pass(n_cells: int, batch_size: int) -> int:
    """Steps in which all cells are seen once."""
    return -(-n_cells // batch_size)


def batches(
    parts: Sequence[CellArrays],
    batch_size: int,
    hidden_share: float,
    key: tuple[int, ...],
    world: World,
    first: int = 0,
) -> Iterator[Batch]:
    """All cells of `parts` once, in an order and with hidden genes that are drawn for the whole batch.

    So the result does not depend on the number of processes.

    Args:
        parts: cells, in pieces.
        batch_size: cells a step, over all processes.
        hidden_share: share of a cell's genes that is hidden.
        key: seed, pass, and what else tells this pass from all others.
        world: which share is this process's.
        first: steps to pass over, which cost nothing.
    """
    n_cells = sum(map(len, parts))
    n_genes = parts[0].counts_NG.shape[1]
    order = np.random.default_rng(key).permutation(n_cells)
    for index in range(first, steps_a_pass(n_cells, batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size]
        shown_BG = kept_genes(step_generator(*key, index), len(rows), n_genes, hidden_share)
        mine = np.arange(world.rank, len(rows), world.size)
        weight_N = torch.ones(max(1, len(mine)))
        if len(mine) == 0:  # a last batch smaller than the world: compute, and count for nothing
            mine, weight_N = np.zeros(1, dtype=int), torch.zeros(1)
        yield Batch(
            index=index,
            size=len(rows),
            rows_N=rows[mine],
            all_rows_N=rows,
            cells=take(parts, rows[mine]),
            weight_N=weight_N,
            shown_NG=shown_BG[mine],
            hidden_G=len(rows) - shown_BG.sum(dim=0),
        )


def step_generator(*key: int) -> torch.Generator:
    """A generator for one step, from numbers that no other step has."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) & (2**63 - 1))
