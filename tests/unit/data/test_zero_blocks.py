"""Panels that were joined with zeros are found; differences between cell types are not."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.zero_blocks import SAMPLED_CELLS, Panels, find_panels, sampled_blocks

GENES = [f"G{index}" for index in range(40)]


def joined(cells: int, shuffled: bool = False) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Cells of two panels: the second half of the cells lacks the second half of the genes."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (cells, 40)).astype(np.float32)
    counts[cells // 2 :, 20:] = 0
    obs = pd.DataFrame({"batch": np.where(np.arange(cells) < cells // 2, "full", "half")})
    order = rng.permutation(cells) if shuffled else np.arange(cells)
    return counts[order], obs.iloc[order].reset_index(drop=True)


def panels(counts: NDArray[np.float32], obs: pd.DataFrame) -> Panels | None:
    return find_panels(obs, np.arange(len(counts)), sparse.csr_matrix(counts))


def require_half(found: Panels | None, counts: NDArray[np.float32]) -> None:
    assert found is not None
    assert found.absent_UG.tolist() == [[False] * 20 + [True] * 20]
    is_half_N = (counts[:, 20:].sum(axis=1) == 0) & (counts.sum(axis=1) > 0)
    for start in (0, 100):
        panel_N = found.of(start, sparse.csr_matrix(counts[start : start + 100]))
        assert (panel_N >= 0).tolist() == is_half_N[start : start + 100].tolist()


@pytest.mark.parametrize("name", ["batch", "Sample", "orig.ident", "my column"])
@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_joined_panels_are_found_by_a_column_of_text(name: str, kind: str) -> None:
    counts, obs = joined(400, shuffled=True)
    found = panels(counts, obs.astype(kind).rename(columns={"batch": name}))
    require_half(found, counts)
    assert found is not None
    assert found.described(GENES) == (
        f"200 of 400 cells (obs['{name}']: half) have no count of 20 genes that other cells have often "
        "(G20, G21, G22, ...), as when panels of different genes are joined with zeros"
    )


def test_the_column_that_tells_panels_apart_is_used_whatever_columns_come_before_it() -> None:
    counts, obs = joined(400, shuffled=True)
    obs.insert(0, "donor", np.random.default_rng(1).choice(["a", "b"], 400))
    obs = obs.rename(columns={"batch": "kit"})
    obs.insert(0, "sample", ["few" if kit == "half" and row < 150 else kit for row, kit in enumerate(obs["kit"])])
    found = panels(counts, obs[["sample", "donor", "kit"]])
    assert found is not None
    assert found.column in ("sample", "kit") and found.cells == 200


@pytest.mark.parametrize("shuffled", [False, True])
def test_without_a_column_panels_are_found_by_their_zeros(shuffled: bool) -> None:
    counts, obs = joined(1000, shuffled)
    found = panels(counts, obs[[]])
    require_half(found, counts)
    assert found is not None
    assert abs(found.cells - 500) < 5
    assert "cells (found by their zeros) have no count of 20 genes" in found.described(GENES)


def test_three_panels_are_found_by_their_zeros() -> None:
    counts = np.random.default_rng(0).poisson(0.7, (1500, 60)).astype(np.float32)
    counts[:500, 40:], counts[500:1000, :20] = 0, 0
    found = panels(np.random.default_rng(1).permutation(counts), pd.DataFrame(index=range(1500)))
    assert found is not None
    assert sorted(np.flatnonzero(absent_G)[0] for absent_G in found.absent_UG) == [0, 40]


def test_a_cell_that_has_counts_of_the_absent_genes_has_all_genes() -> None:
    counts, obs = joined(400)
    found = panels(counts, obs)
    assert found is not None
    own = counts[390:].copy()
    own[3, 30] = 2
    assert found.of(390, sparse.csr_matrix(own)).tolist() == [0, 0, 0, -1, 0, 0, 0, 0, 0, 0]
    assert found.of(0, sparse.csr_matrix(counts[:2])).tolist() == [-1, -1]


def test_batches_of_one_panel_are_none() -> None:
    counts, obs = joined(400)
    assert panels(np.vstack([counts[:200], counts[:200]]), obs) is None
    counts[200:, 20:] = np.random.default_rng(1).poisson(0.05, (200, 20))  # fewer, but measured
    assert panels(counts, obs) is None
    few = counts.copy()
    few[:, 20:] = counts[:, :20]
    few[200:, :3] = 0  # a few genes of cell types that a batch lacks
    assert panels(few, obs) is None
    assert panels(counts[:60], obs.iloc[:60]) is None


def test_cells_with_few_counts_are_none() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (400, 40)).astype(np.float32)
    counts[:200] = rng.poisson(0.01, (200, 40))
    assert panels(counts, pd.DataFrame({"batch": np.arange(400) < 200})) is None


def test_blocks_of_a_large_file_are_spread_evenly() -> None:
    assert sampled_blocks(1000) == (512, [0, 512])
    block_cells, starts = sampled_blocks(1_000_000)
    assert len(starts) * block_cells <= SAMPLED_CELLS
    assert starts[0] == 0 and starts[-1] + block_cells >= 1_000_000
    assert all(start % block_cells == 0 for start in starts)


def test_repeated_cells_are_no_panels() -> None:
    """Ten cells with few genes each, a hundred times: no gene is measured in some of them only."""
    few = sparse.random(10, len(GENES), density=0.3, random_state=0, format="csr", dtype=np.float32)
    counts = sparse.vstack([few] * 100, format="csr")
    assert find_panels(pd.DataFrame(index=range(1000)), np.arange(1000), counts) is None
