"""Files with more than counts of human genes get the labels of their genes alone, and a note says what was left out."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS
from tests.conftest import simulated_cells
from tests.integration.conftest import Call

RNG = np.random.default_rng(0)


def plain() -> AnnData:
    """Cells whose library sizes are the sums of their counts."""
    cells = simulated_cells(60, seed=5)
    cells.obs = cells.obs.drop(columns=OBS.library_size)
    return cells


def joined(cells: AnnData, counts: np.ndarray, names: list[str], **columns: list[str]) -> AnnData:
    """The cells with more features in front of their own."""
    var = pd.DataFrame(columns, index=[*names, *cells.var_names])
    return AnnData(sparse.hstack([sparse.csr_matrix(counts), cells.X], format="csr"), obs=cells.obs, var=var)


def with_antibodies(cells: AnnData) -> AnnData:
    types = ["Antibody Capture"] * 6 + ["Gene Expression"] * cells.n_vars
    names = [*cells.var_names[:3], "CD3", "CD19", "CD4"]
    return joined(cells, RNG.poisson(200, (60, 6)).astype(np.float32), names, feature_types=types)


def with_two_genomes(cells: AnnData) -> AnnData:
    cells.var_names = [f"GRCh38_{name}" for name in cells.var_names]
    mouse = [f"mm10___{name.capitalize()}" for name in cells.var_names[:20]]
    return joined(
        cells, RNG.poisson(1, (60, 20)).astype(np.float32), mouse
    )  # cells with most counts there are mouse cells


def with_parts(cells: AnnData) -> AnnData:
    whole = cells.X.toarray()
    spliced = RNG.binomial(whole.astype(int), 0.7).astype(np.float32)
    cells.layers["spliced"], cells.layers["unspliced"] = sparse.csr_matrix(spliced), sparse.csr_matrix(whole - spliced)
    cells.X = sparse.csr_matrix(np.log1p(whole / whole.sum(axis=1, keepdims=True) * 1e4))
    return cells


@pytest.mark.parametrize(
    ("change", "options", "note"),
    [
        (with_antibodies, (), "6 of 30 features are not gene expression (Antibody Capture 6)"),
        (with_two_genomes, (), "20 of 44 features belong to another genome (mm10 20)"),
        (with_parts, ("--counts", "spliced+unspliced"), ""),
    ],
)
def test_labels_are_those_of_the_genes_alone(
    change: Callable[[AnnData], AnnData],
    options: tuple[str, ...],
    note: str,
    call: Call,
    bundle_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for folder, cells in (("plain", plain()), ("changed", change(plain()))):
        cells.write_h5ad(tmp_path / f"{folder}.h5ad")
        chosen = options if folder == "changed" else ()
        found = call("annotate", "-i", tmp_path / f"{folder}.h5ad", "-m", bundle_folder, "-o", tmp_path, *chosen)
        assert found.code == 0, found
    assert note in caplog.text
    again = call("annotate", "-i", tmp_path / "changed.h5ad", "-m", bundle_folder, "-o", tmp_path, *options)
    assert note in again.out
    expected, got = (anndata.read_h5ad(tmp_path / f"{name}_annotated.h5ad").obs for name in ("plain", "changed"))
    pd.testing.assert_series_equal(got[OBS.predicted_labels], expected[OBS.predicted_labels])
    np.testing.assert_allclose(got[OBS.conf_score], expected[OBS.conf_score], atol=1e-6)
