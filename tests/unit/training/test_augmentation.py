"""Gene dropout and thinning."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sctransformer.data.arrays import CellArrays
from sctransformer.model.tokens import GeneTokens, dropped_out
from sctransformer.training.batches import Corruption, batches
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.thinning import thin_cells
from tests.conftest import arrays, simulated_cells, small_model


def cells_of(counts_NG: np.ndarray, elsewhere: float = 0.0) -> CellArrays:
    """Cells with a number of counts in genes outside the panel."""
    counts_NG = counts_NG.astype(np.float32)
    return CellArrays(
        counts_NG, counts_NG.sum(axis=1) + np.float32(elsewhere), np.zeros(len(counts_NG), dtype=np.int64)
    )


@given(
    counts_NG=hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 5000)),
    elsewhere=st.integers(0, 5000),
    most=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_thinning_only_removes_counts(counts_NG: np.ndarray, elsewhere: int, most: float, seed: int) -> None:
    cells = cells_of(counts_NG, elsewhere)
    left = thin_cells(cells, most, [(seed, row) for row in range(len(cells))])
    assert (left.counts_NG >= 0).all()
    assert (left.counts_NG <= cells.counts_NG).all()
    np.testing.assert_array_equal(left.counts_NG, np.rint(left.counts_NG))
    assert (left.library_size_N >= left.counts_NG.sum(axis=1)).all()
    assert (left.library_size_N <= cells.library_size_N).all()
    np.testing.assert_array_equal(cells.counts_NG, counts_NG)  # the input is not changed


def test_thinning_removes_the_same_fraction_of_each_gene_and_of_the_library() -> None:
    """With large counts the fraction is close to the sampled one, which differs between cells."""
    cells = cells_of(np.full((200, 4), 100_000), elsewhere=400_000)
    left = thin_cells(cells, 0.6, [(row,) for row in range(200)])
    share_NG = left.counts_NG / cells.counts_NG
    share_N = left.library_size_N / cells.library_size_N
    np.testing.assert_allclose(share_NG, share_N[:, None] * np.ones((1, 4)), atol=0.01)
    assert share_N.min() == pytest.approx(0.4, abs=0.03)
    assert share_N.max() == pytest.approx(1.0, abs=0.03)
    assert share_N.mean() == pytest.approx(0.7, abs=0.05)


def test_without_thinning_cells_are_the_same() -> None:
    cells = cells_of(np.arange(6).reshape(2, 3))
    assert thin_cells(cells, 0.0, [(0,), (1,)]) is cells


def test_a_library_size_below_the_sum_of_counts_is_accepted() -> None:
    """Columns of other tools may have one."""
    cells = CellArrays(
        np.full((1, 3), 7.0, dtype=np.float32), np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.int64)
    )
    left = thin_cells(cells, 0.5, [(1,)])
    assert left.library_size_N[0] == left.counts_NG.sum()


def test_each_epoch_samples_other_counts() -> None:
    cells = arrays(simulated_cells())
    sums = []
    for epoch in (0, 0, 1):
        (batch,) = batches([cells], len(cells), Corruption(thinning=0.8), (0, epoch), ProcessGroup())
        sums.append(batch.cells.counts_NG[np.argsort(batch.rows_N)].sum(axis=1))
        assert (sums[-1] <= cells.counts_NG.sum(axis=1)).all()
    np.testing.assert_array_equal(sums[0], sums[1])
    assert (sums[0] != sums[2]).any()


def test_a_dropped_gene_is_masked() -> None:
    """The result does not depend on its count; its token is that of its mean, not that of a zero count."""
    model, cells = small_model(), arrays(simulated_cells())
    counts_NG, size_N = torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N)
    hidden_NG = torch.rand(counts_NG.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    hidden = dropped_out(hidden_NG, 0.3)
    other_NG = torch.where(hidden_NG, counts_NG + 50.0, counts_NG)
    assert torch.equal(model(counts_NG, size_N, hidden).logits_NC, model(other_NG, size_N, hidden).logits_NC)
    token_NGD = model.tokens(counts_NG, size_N, hidden)
    identity_NGD = model.tokens.identity_GD.expand_as(token_NGD)
    assert torch.equal(token_NGD[hidden_NG], identity_NGD[hidden_NG])


def test_dropout_does_not_change_tokens_on_average() -> None:
    """Over a mask of half of the genes and its complement."""
    tokens = GeneTokens(12, 4)
    counts_NG, size_N = torch.poisson(torch.full((5, 12), 3.0)), torch.full((5,), 40.0)
    hidden_NG = torch.rand(5, 12) < 0.5
    both = [tokens(counts_NG, size_N, dropped_out(mask_NG, 0.5)) for mask_NG in (hidden_NG, ~hidden_NG)]
    torch.testing.assert_close((both[0] + both[1]) / 2, tokens(counts_NG, size_N))
