"""Count statistics do not depend on chunk size, storage format or data type."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.statistics import CountStatistics, count_statistics

GENES = ["MT-CO1", "CD3E", "mt-Nd1", "LYZ", "MTOR", "SPI1"]

dense_counts = st.tuples(st.integers(0, 12), st.integers(1, len(GENES))).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([0, 0, 0, 1, 2, 7, 300]).map(float))
)


def chunks(
    counts_NG: NDArray | sparse.csr_matrix, rows: int, dtype: str = "float32"
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    matrix = sparse.csr_matrix(counts_NG, dtype=dtype)
    for start in range(0, matrix.shape[0], rows):
        yield start, matrix[start : start + rows]


def assert_equal(one: CountStatistics, other: CountStatistics) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, vars(other)[name], err_msg=name)


@settings(deadline=None)
@given(
    counts_NG=dense_counts, rows=st.integers(1, 13), dtype=st.sampled_from(["float32", "float64", "int32", "uint16"])
)
def test_statistics_equal_those_of_the_dense_matrix(counts_NG: NDArray, rows: int, dtype: str) -> None:
    names = GENES[: counts_NG.shape[1]]
    found = count_statistics(chunks(counts_NG, rows, dtype), names)
    mitochondrial_G = [name in ("MT-CO1", "mt-Nd1") for name in names]
    sums_N = counts_NG.sum(axis=1)
    np.testing.assert_array_equal(found.counts_N, sums_N)
    np.testing.assert_array_equal(found.genes_detected_N, (counts_NG != 0).sum(axis=1))
    np.testing.assert_array_equal(found.lowest_N, counts_NG.min(axis=1))
    np.testing.assert_array_equal(found.largest_N, counts_NG.max(axis=1))
    np.testing.assert_allclose(
        found.mitochondrial_share_N, counts_NG[:, mitochondrial_G].sum(axis=1) / np.where(sums_N > 0, sums_N, 1)
    )
    np.testing.assert_array_equal(found.fractional_N, np.zeros(len(counts_NG)))
    np.testing.assert_array_equal(found.cells_G, (counts_NG != 0).sum(axis=0))
    np.testing.assert_array_equal(found.total_G, counts_NG.sum(axis=0))
    np.testing.assert_allclose(found.zero_share(), (counts_NG == 0).mean(axis=1))


@settings(deadline=None)
@given(counts_NG=dense_counts, rows=st.integers(1, 13), others=st.integers(1, 13))
def test_statistics_do_not_depend_on_the_chunk_size(counts_NG: NDArray, rows: int, others: int) -> None:
    names = GENES[: counts_NG.shape[1]]
    assert_equal(count_statistics(chunks(counts_NG, rows), names), count_statistics(chunks(counts_NG, others), names))


@settings(deadline=None)
@given(counts_NG=dense_counts, rows=st.integers(1, 13))
def test_duplicates_refer_to_the_first_cell_with_the_same_counts(counts_NG: NDArray, rows: int) -> None:
    found = count_statistics(chunks(counts_NG, rows), GENES[: counts_NG.shape[1]]).first_with_same_counts()
    for cell, row_G in enumerate(counts_NG):
        same = [other for other in range(cell + 1) if row_G.any() and (counts_NG[other] == row_G).all()]
        assert found[cell] == (same[0] if same else cell)


def test_statistics_do_not_depend_on_storage_and_do_not_change_it() -> None:
    """Unsorted indices, a duplicate entry and a stored zero do not change the counts."""
    untidy = sparse.csr_matrix(
        (np.array([5.0, 1.0, 2.0, 1.0, 0.0]), np.array([3, 0, 1, 1, 2]), np.array([0, 5])), shape=(1, 4)
    )
    assert_equal(
        count_statistics([(0, untidy)], GENES[:4]), count_statistics(chunks(np.array([[1.0, 3, 0, 5]]), 1), GENES[:4])
    )
    assert untidy.indices.tolist() == [3, 0, 1, 1, 2]


def test_rows_with_swapped_counts_are_not_duplicates() -> None:
    found = count_statistics(chunks(np.array([[1.0, 2, 0], [2, 1, 0], [0, 1, 2], [3, 0, 0]]), 2), GENES[:3])
    assert len(set(found.content_N.tolist())) == 4


def test_negative_and_fractional_values_are_counted() -> None:
    found = count_statistics(chunks(np.array([[1.0, 2.0001, 0], [0.5, 1.25, -3.0]]), 2), GENES[:3])
    assert found.fractional_N.tolist() == [0, 2]
    assert found.lowest_N.tolist() == [0.0, -3.0]


def test_progress_reports_the_number_of_cells_read() -> None:
    done: list[int] = []
    count_statistics(chunks(np.eye(5), 2), GENES[:5], done.append)
    assert done == [2, 4, 5]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_matrix_gives_empty_statistics(shape: tuple[int, int]) -> None:
    found = count_statistics(chunks(np.zeros(shape), 2), GENES[: shape[1]])
    assert (found.n_cells, len(found.cells_G)) == shape
    assert not found.largest_N.any()
