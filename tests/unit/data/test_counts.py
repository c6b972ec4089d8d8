"""The example cells, and checks of raw counts."""

import numpy as np
import pytest
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.counts import check_counts
from sctransformer.data.example_data import example_cells
from sctransformer.data.prepared import ontology_ids
from sctransformer.errors import UserError

CELL_ONTOLOGY = {
    "CD14+ Monocyte": "CL:0001054",
    "CD19+ B": "CL:0000236",
    "CD34+": "CL:0008001",
    "CD4+/CD25 T Reg": "CL:0000792",
    "CD4+/CD45RA+/CD25- Naive T": "CL:0000895",
    "CD4+/CD45RO+ Memory": "CL:0000897",
    "CD56+ NK": "CL:0000623",
    "CD8+ Cytotoxic T": "CL:0000794",
    "CD8+/CD45RA+ Naive Cytotoxic": "CL:0000900",
    "Dendritic": "CL:0000451",
}


def test_example_cells_follow_the_data_contract() -> None:
    cells = example_cells()
    assert cells.shape == (700, 765)
    assert sparse.isspmatrix_csr(cells.X)
    assert np.array_equal(cells.X.data, np.round(cells.X.data))
    assert cells.X.min() == 0
    row_sums = np.asarray(cells.X.sum(axis=1)).ravel()
    assert (cells.obs[OBS.library_size] >= row_sums).all()
    assert 0.1 < row_sums.sum() / cells.obs[OBS.library_size].sum() < 0.3  # the panel has about a fifth of the counts
    assert ontology_ids(cells.obs) == CELL_ONTOLOGY
    # marker genes are expressed in their cell types: neither counts nor symbols were shuffled
    b_cells = (cells.obs[OBS.cell_type] == "CD19+ B").to_numpy()
    assert cells[b_cells, "CD79A"].X.mean() > 10 * cells[~b_cells, "CD79A"].X.mean()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "neither a number"),
        (np.inf, "neither a number"),
        (-1.0, "negative; it looks scaled"),
        (1.37, "it looks log-normalised"),
        (137.4, "it looks normalised"),
        (2.0**24 + 2, "larger than any count"),
    ],
)
def test_the_error_for_an_invalid_count_names_its_position(value: float, message: str) -> None:
    counts = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    counts.data[1] = value
    with pytest.raises(UserError, match=message) as caught:
        check_counts(counts, "file.h5ad: X", ["c0", "c1", "c2", "c3"], ["g0", "g1", "g2"], first_cell=1)
    assert "cell 'c2', gene 'g1'" in str(caught.value)


def test_float_noise_around_integers_is_allowed() -> None:
    check_counts(sparse.csr_matrix(np.array([[1.0001, 2.9999]])), "X", ["c"], ["a", "b"])
