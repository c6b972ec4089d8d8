"""Panels that were joined with zeros are noted; differences between cell types are not."""

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.reading import check_cells
from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.data.zero_blocks import ZeroBlocks

GENES = [f"G{index}" for index in range(40)]


def joined(cells: int, shuffled: bool = False) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Cells of two panels: the second half of the cells lacks the second half of the genes."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (cells, 40)).astype(np.float32)
    counts[cells // 2 :, 20:] = 0
    obs = pd.DataFrame({"batch": np.where(np.arange(cells) < cells // 2, "full", "half")})
    order = rng.permutation(cells) if shuffled else np.arange(cells)
    return counts[order], obs.iloc[order].reset_index(drop=True)


def notes(counts: NDArray[np.float32], obs: pd.DataFrame) -> tuple[str, ...]:
    blocks = ZeroBlocks.of(obs, 40)
    for start in range(0, len(counts), 300):
        blocks.add(start, sparse.csr_matrix(counts[start : start + 300]))
    return blocks.notes(GENES)


def test_joined_panels_are_noted_by_the_column_of_their_batch() -> None:
    (note,) = notes(*joined(400, shuffled=True))
    assert note.startswith(
        "200 of 400 cells (obs['batch']: half) have no count of 20 genes that other cells have often (G20, G21, G22, "
    )
    assert note.endswith("annotate the file of each panel by itself")


def test_names_of_columns_are_read_in_any_letter_case() -> None:
    for name in ("Sample", "orig.ident"):
        counts, obs = joined(400, shuffled=True)
        (note,) = notes(counts, obs.rename(columns={"batch": name}))
        assert f"(obs['{name}']: half)" in note


def test_without_a_column_consecutive_cells_are_compared() -> None:
    counts, obs = joined(4096)
    (note,) = notes(counts, obs.drop(columns="batch"))
    assert note.startswith("2,048 of 4,096 cells (in blocks of consecutive cells) have no count of 20 genes")


def test_batches_of_one_panel_are_not_noted() -> None:
    counts, obs = joined(400)
    assert notes(np.vstack([counts[:200], counts[:200]]), obs) == ()
    counts[200:, 20:] = np.random.default_rng(1).poisson(0.05, (200, 20))  # fewer, but measured
    assert notes(counts, obs) == ()
    few = counts.copy()
    few[:, 20:] = counts[:, :20]
    few[200:, :3] = 0  # a few genes of cell types that a batch lacks
    assert notes(few, obs) == ()
    assert notes(counts[:60], obs.iloc[:60]) == ()


def test_the_note_is_known_after_the_cells_to_annotate_were_read() -> None:
    counts, obs = joined(400)
    cells = AnnDataCells(AnnData(counts, obs=obs.set_axis(obs.index.astype(str)), var=pd.DataFrame(index=GENES)), "X")
    read = check_cells(cells, pd.DataFrame({"gene": GENES, "mean": 1.0}))
    assert read.notes == []
    for _ in read.chunks(128):
        pass
    assert [note[:39] for note in read.notes] == ["200 of 400 cells (obs['batch']: half) h"[:39]]
