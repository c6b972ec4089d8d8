"""Library sizes: from a column of obs or from the sums of counts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sctransformer.data.library_size import choose_library_sizes
from sctransformer.errors import UserError

COUNTS = sparse.csr_matrix(np.array([[1.0, 2.0], [0.0, 0.0]]))


def test_library_sizes_come_from_the_column_if_it_exists() -> None:
    obs = pd.DataFrame({"library_size": [10.0, 0.0], "other": [7, 0]})
    assert choose_library_sizes(obs, None, "f").of_chunk(0, COUNTS).tolist() == [10, 0]
    assert choose_library_sizes(obs, "other", "f").of_chunk(0, COUNTS).tolist() == [7, 0]
    assert choose_library_sizes(obs[["other"]], None, "f").of_chunk(0, COUNTS).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"total_counts": [9, 9, 9]}, "total_counts"),
        ({"n_counts": ["9", "9", "x"]}, "n_counts"),
        ({"nCount_RNA": pd.Categorical([9.5, 9.5, None])}, "nCount_RNA"),
        ({"total_counts": [3.05, 3.0, 3.1]}, None),
        ({"total_counts": [np.nan, np.nan, 9]}, None),
        ({"total_counts": [9, 9, 9], "library_size": [4, 4, 4]}, None),
        ({"other": [9, 9, 9]}, None),
    ],
)
def test_a_column_of_larger_library_sizes_is_found(columns: dict[str, Any], found: str | None) -> None:
    sizes = choose_library_sizes(pd.DataFrame(columns), None, "f", "raw.X")
    assert sizes.larger_column(np.full(3, 3.0)) == found
    assert str(sizes) == ("obs['library_size']" if "library_size" in columns else "sum of raw.X")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0, 2.0, 1e30, 1e10])
def test_the_error_names_the_cell_with_an_invalid_library_size(value: float) -> None:
    obs = pd.DataFrame({"library_size": [value, 5.0]}, index=["first", "second"])
    with pytest.raises(UserError, match=r"f: obs\['library_size'\] of cell 'first'"):
        choose_library_sizes(obs, None, "f").of_chunk(0, COUNTS)


def test_the_error_names_a_missing_column() -> None:
    with pytest.raises(UserError, match=r"f: obs has no column 'size' \(columns: a, b\)"):
        choose_library_sizes(pd.DataFrame({"a": [1], "b": [2]}), "size", "f")


@pytest.mark.parametrize(
    "values",
    [pd.to_datetime(["2024-01-01", "2024-01-02"]), pd.to_timedelta([1, 2], unit="D"), [True, False]],
)
def test_dates_and_truth_values_are_no_library_sizes(values: Any) -> None:
    obs = pd.DataFrame({"library_size": values})
    with pytest.raises(UserError, match=r"f: obs\['library_size'\] holds values of type .*--library-size-column"):
        choose_library_sizes(obs, None, "f")
