"""Raw counts are told from other whole numbers, or the file is refused with what each matrix holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.data.count_shape import find_odd_shape
from sctransformer.errors import UserError

N_GENES = 300


def counts(n_cells: int = 60, seed: int = 0, depth: float = 1500.0) -> np.ndarray:
    """Counts of cells of different depths, a few genes much more expressed than the others."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0, 1.6, N_GENES)
    size_N = depth * rng.lognormal(0, 0.4, n_cells)
    return rng.poisson(size_N[:, None] * rng.gamma(5, share / share.sum() / 5, (n_cells, N_GENES))).astype(np.float32)


def logged(values: np.ndarray) -> np.ndarray:
    return np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)


def by_row(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Apply a function to the non-zero values of each row."""

    def changed(values: np.ndarray) -> np.ndarray:
        result = np.zeros_like(values)
        for row, own in zip(result, values, strict=True):
            row[own > 0] = change(own[own > 0])
        return result

    return changed


def quantile_bins(values: np.ndarray, n: int = 10) -> np.ndarray:
    return np.digitize(values, np.quantile(values, np.linspace(0, 1, n)[1:])) + 1


NOT_COUNTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "ranks": (by_row(lambda row: stats.rankdata(row, method="ordinal")), "looks like ranks"),
    "ranks with equal lowest": (by_row(lambda row: stats.rankdata(row, method="min")), "looks like ranks"),
    "ranks with equal highest": (by_row(lambda row: stats.rankdata(row, method="max")), "looks like ranks"),
    "ranks from the top": (by_row(lambda row: stats.rankdata(-row, method="ordinal")), "looks like ranks"),
    "bins": (by_row(quantile_bins), "looks (binned|like ranks)"),
    "many bins": (by_row(lambda row: quantile_bins(row + np.arange(len(row)) * 1e-3, 51)), "looks (binned|like ranks)"),
    "cut off": (lambda values: values.clip(max=5), "binned or cut off"),
    "binary": (lambda values: (values > 0).astype(np.float32), "looks binary"),
    "rounded logarithms": (lambda values: np.rint(logged(values)), "looks like rounded logarithms"),
    "rounded log1p of counts": (lambda values: np.rint(np.log1p(values * 8)), "looks like rounded logarithms"),
}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), depth=st.floats(200, 20_000), n_cells=st.integers(1, 200))
def test_counts_of_any_depth_look_like_counts(seed: int, depth: float, n_cells: int) -> None:
    values = counts(n_cells, seed, depth)
    assert find_odd_shape(sparse.csr_matrix(values)) is None
    assert find_odd_shape(sparse.csr_matrix(values[:, :40].astype(np.int64))) is None


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(list(NOT_COUNTS)), seed=st.integers(0, 10_000), depth=st.floats(1000, 10_000))
def test_other_whole_numbers_are_recognised(kind: str, seed: int, depth: float) -> None:
    change, _ = NOT_COUNTS[kind]
    assert find_odd_shape(sparse.csr_matrix(change(counts(60, seed, depth)))) is not None


@pytest.mark.parametrize("kind", NOT_COUNTS)
@pytest.mark.parametrize("beside", ["nothing", "logged X"])
def test_whole_numbers_that_are_no_counts_are_refused(kind: str, beside: str) -> None:
    change, words = NOT_COUNTS[kind]
    values = change(counts())
    adata = AnnData(values) if beside == "nothing" else AnnData(logged(counts()), layers={"counts": values})
    with pytest.raises(UserError, match=words):
        AnnDataCells(adata)


@pytest.mark.parametrize("kind", NOT_COUNTS)
def test_counts_are_preferred_to_other_whole_numbers(kind: str) -> None:
    change, _ = NOT_COUNTS[kind]
    found = AnnDataCells(AnnData(change(counts()), layers={"counts": counts()}))
    assert found.counts_in == "counts"
    found = AnnDataCells(AnnData(counts(), layers={"counts": change(counts())}))
    assert found.counts_in == "X"
    bool_x = AnnData(sparse.csr_matrix(counts() > 0), layers={"counts": counts()})
    assert AnnDataCells(bool_x).counts_in == "counts"


@pytest.mark.parametrize("name", ["counts", "Counts", "raw_counts", "umi", "UMI counts", "umis", "raw", "count"])
def test_a_layer_with_a_usual_name_is_read(name: str) -> None:
    assert AnnDataCells(AnnData(logged(counts()), layers={"a": counts(), name: counts()})).counts_in == name


def test_a_layer_with_another_name_is_not_read_and_the_error_says_what_there_is() -> None:
    adata = AnnData(logged(counts()), layers={"binned": by_row(quantile_bins)(counts()), "mine": counts()})
    with pytest.raises(UserError) as caught:
        AnnDataCells(adata)
    message = str(caught.value)
    assert "X (not an integer: it looks log-normalised), layer 'binned' (" in message
    assert "layer 'mine' (whole numbers, but the name does not say that they are counts)" in message
    assert "name it with --counts" in message
    assert AnnDataCells(adata, "mine").counts_in == "mine"


def velocity() -> AnnData:
    whole = counts()
    rng = np.random.default_rng(1)
    spliced = rng.binomial(whole.astype(int), 0.6).astype(np.float32)
    unspliced = rng.binomial((whole - spliced).astype(int), 0.7).astype(np.float32)
    layers = {"spliced": spliced, "unspliced": unspliced, "ambiguous": whole - spliced - unspliced}
    return AnnData(logged(whole), layers=layers)


def test_parts_of_the_counts_are_not_taken_for_counts_and_their_sum_can_be_read() -> None:
    with pytest.raises(UserError, match=r"--counts spliced\+unspliced\+ambiguous reads all .*--counts spliced those"):
        AnnDataCells(velocity())
    found = AnnDataCells(velocity(), "spliced+unspliced+ambiguous")
    np.testing.assert_array_equal(np.concatenate([part.toarray() for _, part in found.chunks(25)]), counts())
    with pytest.raises(UserError, match="has no counts in 'spliced\\+gone'"):
        AnnDataCells(velocity(), "spliced+gone")


def test_a_note_tells_that_x_is_a_part_of_the_counts() -> None:
    adata = velocity()
    adata.X = adata.layers["spliced"].copy()
    found = AnnDataCells(adata)
    assert found.counts_in == "X"
    assert "X equals the layer 'spliced', a part of the counts" in found.notes[0]


def test_a_layer_with_the_name_plus_is_a_layer() -> None:
    assert AnnDataCells(AnnData(logged(counts()), layers={"a+b": counts()}), "a+b").counts_in == "a+b"


@pytest.mark.parametrize("column", ["total_counts", "n_counts", "nCount_RNA"])
def test_library_sizes_in_obs_decide_between_counts(column: str) -> None:
    whole, other = counts(), counts(seed=1)
    for right, wrong in ((whole, other), (other, whole)):
        obs = pd.DataFrame({column: right.sum(axis=1)}, index=[f"c{index}" for index in range(60)])
        assert AnnDataCells(AnnData(right, obs=obs, layers={"counts": wrong})).counts_in == "X"
        assert AnnDataCells(AnnData(wrong, obs=obs, layers={"counts": right})).counts_in == "counts"


def test_counts_of_other_cells_are_refused() -> None:
    whole = counts()
    shuffled = whole[np.random.default_rng(0).permutation(len(whole))]
    obs = pd.DataFrame({"total_counts": whole.sum(axis=1)}, index=[f"c{index}" for index in range(60)])
    with pytest.raises(UserError, match=r"sums by cell are not related to obs\['total_counts'\]"):
        AnnDataCells(AnnData(logged(whole), obs=obs, layers={"counts": shuffled}))
    other_genes = whole[:, np.random.default_rng(0).permutation(N_GENES)]
    with pytest.raises(UserError, match="not related to the normalised values of X"):
        AnnDataCells(AnnData(logged(whole), layers={"counts": other_genes}))


@pytest.mark.parametrize(
    "obs",
    [
        {"total_counts": lambda whole: np.full(len(whole), 1e4)},
        {"n_counts": lambda whole: whole.sum(axis=1) * 3},
        {"total_counts": lambda whole: logged(whole).sum(axis=1)},
        {"n_counts": lambda whole: np.full(len(whole), np.nan)},
        {"nCount_RNA": lambda whole: ["many"] * len(whole)},
    ],
)
def test_library_sizes_of_something_else_do_not_stand_in_the_way(obs: dict[str, Callable[[np.ndarray], Any]]) -> None:
    whole = counts()
    table = pd.DataFrame({name: make(whole) for name, make in obs.items()}, index=[f"c{index}" for index in range(60)])
    assert AnnDataCells(AnnData(whole, obs=table)).counts_in == "X"
    assert AnnDataCells(AnnData(logged(whole), obs=table, layers={"counts": whole})).counts_in == "counts"


@pytest.mark.parametrize(
    "normalise",
    [
        logged,
        lambda whole: logged(whole) / logged(whole).std(axis=0).clip(0.1),
        lambda whole: np.sqrt(whole),
        lambda whole: (logged(whole) - logged(whole).mean(axis=0)) / logged(whole).std(axis=0).clip(0.1),
        lambda whole: whole / whole.sum(axis=1, keepdims=True) * 1e6,
        lambda whole: logged(whole) @ np.full((N_GENES, N_GENES), 1 / N_GENES, dtype=np.float32) + logged(whole),
    ],
)
def test_counts_are_found_beside_any_normalised_x(normalise: Callable[[np.ndarray], np.ndarray]) -> None:
    whole = counts()
    assert AnnDataCells(AnnData(normalise(whole), layers={"counts": whole})).counts_in == "counts"
    adata = AnnData(normalise(whole))
    adata.raw = AnnData(whole)
    assert AnnDataCells(adata).counts_in == "raw.X"


@pytest.mark.parametrize("kind", ["binary", "ranks"])
def test_a_place_that_is_asked_for_is_read(kind: str) -> None:
    values = NOT_COUNTS[kind][0](counts())
    found = AnnDataCells(AnnData(values), "X")
    np.testing.assert_array_equal(np.concatenate([part.toarray() for _, part in found.chunks(25)]), values)
