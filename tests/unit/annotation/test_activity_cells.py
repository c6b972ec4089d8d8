"""Activities as an AnnData."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sctransformer as sct
from sctransformer._constants import OBSM, UNS


def annotated(n_cells: int = 12, names: tuple[str, ...] = ("A", "B", "C"), **described: object) -> AnnData:
    """Cells with the fields of `regulators="all"`."""
    rng = np.random.default_rng(n_cells)
    obs = pd.DataFrame({"label": ["x", "y"] * (n_cells // 2)}, index=[f"cell{index}" for index in range(n_cells)])
    activity_NR = rng.normal(size=(n_cells, len(names))).astype(np.float32)
    return AnnData(
        np.ones((n_cells, 5), dtype=np.float32),
        obs=obs,
        obsm={"X_umap": np.ones((n_cells, 2)), OBSM.regulators: activity_NR, OBSM.regulators_mrna: activity_NR + 9},
        uns={UNS.annotation: {"regulators": {"name": np.array(names), **described}}, "label_colors": ["#000", "#fff"]},
    )


def test_activities_become_an_anndata_with_the_cells_of_the_first() -> None:
    cells = annotated(targets=[5, 6, 7], evidence=[0.1, 0.2, np.nan])
    acts = sct.regulators(cells)
    assert acts.var_names.tolist() == ["A", "B", "C"]
    assert acts.var["targets"].tolist() == [5, 6, 7]
    np.testing.assert_array_equal(acts.var["evidence"], [0.1, 0.2, np.nan])
    np.testing.assert_array_equal(acts.X, cells.obsm[OBSM.regulators])
    np.testing.assert_array_equal(acts.layers["mrna"], cells.obsm[OBSM.regulators_mrna])
    pd.testing.assert_frame_equal(acts.obs, cells.obs)
    assert list(acts.obsm) == ["X_umap"]
    assert acts.uns["label_colors"] == ["#000", "#fff"]
    acts.X[:] = 0
    acts.obs["label"] = "z"
    assert cells.obsm[OBSM.regulators].any()
    assert set(cells.obs["label"]) == {"x", "y"}


def test_scanpy_ranks_and_averages_regulators() -> None:
    import scanpy  # seconds, and only here

    acts = sct.regulators(annotated(40))
    scanpy.tl.rank_genes_groups(acts, "label", method="t-test")
    found = scanpy.get.rank_genes_groups_df(acts, "x")
    assert set(found["names"]) == {"A", "B", "C"}
    assert scanpy.get.aggregate(acts, by="label", func="mean").shape == (2, 3)


def test_cell_types_without_cells_do_not_stop_plots() -> None:
    import scanpy  # seconds, and only here

    cells = annotated(40)
    cells.obs["label"] = pd.Categorical(cells.obs["label"], categories=["none", "x", "y"])
    cells.uns["label_colors"] = ["#111111", "#222222", "#333333"]
    acts = sct.regulators(cells)
    scanpy.pl.matrixplot(acts, ["A", "B"], groupby="label", show=False)
    assert list(acts.uns["label_colors"]) == ["#222222", "#333333"]
    assert cells.obs["label"].cat.categories.tolist() == ["none", "x", "y"]


def test_parts_and_concatenated_cells_have_activities() -> None:
    parts = [annotated(12), annotated(6)]
    joined = anndata.concat(parts, uns_merge="same", index_unique="-")
    assert sct.regulators(joined).shape == (18, 3)
    assert sct.regulators(joined[3:7]).shape == (4, 3)
    with pytest.raises(sct.UserError, match=r"lacks the names of the regulators .* use uns_merge='same'"):
        sct.regulators(anndata.concat(parts, index_unique="-"))


def test_cells_without_activities_are_refused_with_the_option() -> None:
    cells = annotated()
    del cells.obsm[OBSM.regulators]
    with pytest.raises(sct.UserError, match="annotate it with regulators='all', or its file with --regulators all"):
        sct.regulators(cells)
    with pytest.raises(sct.UserError, match="expected an AnnData, found str"):
        sct.regulators("cells.h5ad")  # type: ignore[arg-type]
    cells = annotated()
    cells.obsm[OBSM.regulators] = np.ones((12, 2), dtype=np.float32)
    with pytest.raises(sct.UserError, match=r"has 2 columns, but .* names 3 regulators"):
        sct.regulators(cells)
