"""`sctransformer.annotate` gives what `sctransformer annotate` writes, bit for bit, and refuses what it refuses."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import sctransformer as sct
from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.annotation.voting import GROUPS, MAJORITY
from sctransformer.registry.packaging import save_model
from tests.conftest import GENES, LABELS, simulated_cells
from tests.integration.conftest import Call
from tests.integration.test_registry_pyfunc import loaded

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"


def dense(cells: AnnData) -> AnnData:
    cells.X = cells.X.toarray()
    return cells


def raw(cells: AnnData) -> AnnData:
    whole = cells.copy()
    cells = cells[:, :12].copy()
    cells.X = np.log1p(cells.X)
    cells.raw = whole
    return cells


def layer(cells: AnnData) -> AnnData:
    cells.layers["counts"] = cells.X.copy()
    cells.X = np.log1p(cells.X)
    del cells.obs[OBS.library_size]
    return cells


def annotated_before(cells: AnnData) -> AnnData:
    cells.obs["own"] = "a"
    for name in (OBS.predicted_labels, MAJORITY):
        cells.obs[name] = "earlier"
    cells.obs[OBS.cell_type] = "b"
    cells.uns[UNS.annotation] = {"obs_columns": np.array([OBS.predicted_labels, MAJORITY], dtype=object)}
    return cells


def own_ontology_ids(cells: AnnData) -> AnnData:
    cells.obs[OBS.ontology_term] = pd.Categorical(["CL:0000000"] * len(cells))
    return cells


def index_named_like_a_column(cells: AnnData) -> AnnData:
    cells.obs.index.name = OBS.predicted_labels
    return cells


FORMS: dict[str, Callable[[AnnData], AnnData]] = {
    "CSR": lambda cells: cells,
    "dense": dense,
    "raw.X": raw,
    "layer": layer,
    "genes absent": lambda cells: cells[:, [index for index in range(24) if index not in (1, 6, 17)]].copy(),
    "annotated before": annotated_before,
    "own ontology ids": own_ontology_ids,
    "index named like a column": index_named_like_a_column,
}


def by_command(call: Call, source: Path, model: Path, *words: object) -> AnnData:
    outcome = call("annotate", "-i", source, "-m", model, "-o", source.parent / "out", *words)
    assert outcome.code == 0, outcome.err
    return anndata.read_h5ad(source.parent / "out" / f"{source.stem}_annotated.h5ad")


def require_equal(found: AnnData, expected: AnnData) -> None:
    pd.testing.assert_frame_equal(found.obs, expected.obs, check_exact=True)
    assert found.obsm[OBSM.embedding].dtype == np.float32
    np.testing.assert_array_equal(found.obsm[OBSM.embedding], expected.obsm[OBSM.embedding])
    here, there = (dict(one.uns[UNS.annotation]) for one in (found, expected))
    assert len(there.pop("job_id")) == 16
    assert list(here.pop("obs_columns")) == list(there.pop("obs_columns"))
    assert here == there


@pytest.mark.parametrize("form", FORMS)
def test_the_fields_are_those_of_the_command(form: str, call: Call, bundle_folder: Path, tmp_path: Path) -> None:
    FORMS[form](simulated_cells(700, seed=2)).write_h5ad(tmp_path / "cells.h5ad")
    expected = by_command(call, tmp_path / "cells.h5ad", bundle_folder)
    model = sct.load_model(str(bundle_folder))
    for backed in (None, "r"):
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed=backed)
        assert sct.annotate(adata, model) is adata
        require_equal(adata, expected)


def test_options_are_those_of_the_command(call: Call, bundle_folder: Path, tmp_path: Path) -> None:
    cells = simulated_cells(300, seed=3)
    cells.obs["total"] = cells.obs.pop(OBS.library_size) * 2
    cells[:, :15].copy().write_h5ad(tmp_path / "cells.h5ad")
    words = ["--threshold", 0.8, "--min-coverage", 0.2, "--counts", "X", "--library-size-column", "total"]
    expected = by_command(call, tmp_path / "cells.h5ad", bundle_folder, *words, "--absent-genes", "zero")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad")
    options: dict[str, Any] = {"min_coverage": 0.2, "counts": "X", "library_size_column": "total"}
    sct.annotate(adata, str(bundle_folder), threshold=0.8, absent_genes="zero", **options)
    require_equal(adata, expected)
    assert adata.uns[UNS.annotation]["rejected"] > 0


@pytest.mark.parametrize("level", ["top", "all"])
def test_regulators_are_those_of_the_command(call: Call, activity_bundle: Path, tmp_path: Path, level: str) -> None:
    simulated_cells(700, seed=2).write_h5ad(tmp_path / "cells.h5ad")
    expected = by_command(call, tmp_path / "cells.h5ad", activity_bundle, "--regulators", level)
    assert expected.obs[OBS.top_regulators].notna().any()
    described = expected.uns[UNS.annotation].pop("regulators", {})
    for backed in (None, "r"):
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed=backed)
        sct.annotate(adata, activity_bundle, regulators=level)
        found = adata.uns[UNS.annotation].pop("regulators", {})
        assert set(found) == set(described) == ({"name", "targets", "mean", "std"} if level == "all" else set())
        for name, values in found.items():
            np.testing.assert_array_equal(values, described[name])
        assert set(adata.obsm) == set(expected.obsm)
        for name in adata.obsm:
            np.testing.assert_array_equal(adata.obsm[name], expected.obsm[name])
        require_equal(adata, expected)


@pytest.mark.slow
def test_majority_voting_is_that_of_the_command(call: Call, bundle_folder: Path, tmp_path: Path) -> None:
    simulated_cells(600, seed=3).write_h5ad(tmp_path / "cells.h5ad")
    expected = by_command(call, tmp_path / "cells.h5ad", bundle_folder, "--majority-voting")
    adata = sct.annotate(anndata.read_h5ad(tmp_path / "cells.h5ad"), str(bundle_folder), majority_voting=True)
    require_equal(adata, expected)
    assert {GROUPS, MAJORITY} <= set(adata.obs)


def test_scanpys_plots_of_groups_work_on_labels(bundle_folder: Path) -> None:
    """They fail on categories without cells; concatenated files have the categories of all."""
    import scanpy  # seconds, and only here

    cells = simulated_cells()
    cells = cells[cells.obs[OBS.cell_type] != "gamma"].copy()
    sct.annotate(cells, bundle_folder, threshold=0.0)
    assert "gamma" not in set(cells.obs[OBS.predicted_labels])
    scanpy.pl.dotplot(cells, list(cells.var_names[:3]), groupby=OBS.predicted_labels, show=False)
    other = simulated_cells(seed=1)
    sct.annotate(other, bundle_folder, threshold=0.0)
    joined = anndata.concat([cells, other], index_unique="-")
    assert set(joined.obs[OBS.predicted_labels].cat.categories) == set(other.obs[OBS.predicted_labels])


def test_a_view_is_annotated_and_its_parent_is_not_changed(bundle_folder: Path) -> None:
    cells = simulated_cells(200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = sct.annotate(cells[::2], str(bundle_folder))
    assert OBS.predicted_labels in part.obs
    assert OBS.predicted_labels not in cells.obs
    pd.testing.assert_frame_equal(part.obs, sct.annotate(cells[::2].copy(), str(bundle_folder)).obs)


def test_a_view_of_a_backed_object_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    simulated_cells().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(sct.UserError, match="adata: is a view of a backed object"):
        sct.annotate(backed[:5], str(bundle_folder))


def test_a_path_in_place_of_an_anndata_is_refused(bundle_folder: Path) -> None:
    model = sct.load_model(bundle_folder)
    for function in (lambda cells: sct.annotate(cells, model), model.predict_proba, model.embed):
        with pytest.raises(sct.UserError, match="adata: expected an AnnData, found str"):
            function("cells.h5ad")


def log_normalised(cells: AnnData) -> AnnData:
    cells.X = np.log1p(cells.X / 7)
    return cells


def renamed(cells: AnnData) -> AnnData:
    cells.var_names = [f"x{name}" for name in cells.var_names]
    return cells


@pytest.mark.parametrize(
    "spoil",
    [log_normalised, renamed, lambda cells: cells[:0].copy(), lambda cells: cells[:, :12].copy()],
    ids=["log-normalised", "renamed", "no cells", "half of the genes"],
)
def test_refusals_are_those_of_the_command(
    spoil: Callable[[AnnData], AnnData], call: Call, bundle_folder: Path, tmp_path: Path
) -> None:
    adata = spoil(simulated_cells())
    adata.write_h5ad(tmp_path / "cells.h5ad")
    outcome = call("annotate", "-i", tmp_path / "cells.h5ad", "-m", bundle_folder, "-o", tmp_path / "out")
    before = adata.copy()
    with pytest.raises(sct.UserError) as caught:
        sct.annotate(adata, str(bundle_folder))
    assert outcome.err == f"Error: {caught.value}\n".replace("adata: ", f"{tmp_path / 'cells.h5ad'}: ")
    assert list(adata.obs) == list(before.obs)
    assert UNS.annotation not in adata.uns


def test_probabilities_and_embeddings_are_those_of_the_labels(bundle_folder: Path) -> None:
    model, cells = sct.load_model(bundle_folder), simulated_cells(150, seed=1)
    before = cells.copy()
    probabilities = model.predict_proba(cells)
    embedding_NE = model.embed(cells)
    assert list(cells.obs) == list(before.obs)
    assert (cells.X != before.X).nnz == 0
    adata = sct.annotate(cells, model, threshold=0.0)
    assert probabilities.columns.tolist() == model.labels
    assert probabilities.index.equals(adata.obs_names)
    assert probabilities.idxmax(axis=1).tolist() == adata.obs[OBS.predicted_labels].tolist()
    np.testing.assert_array_equal(probabilities.max(axis=1), adata.obs[OBS.conf_score])
    np.testing.assert_array_equal(embedding_NE, adata.obsm[OBSM.embedding])
    with pytest.raises(sct.UserError, match=r"threshold is 2\.0: "):
        sct.annotate(cells, model, threshold=2.0)
    with pytest.raises(sct.UserError, match="has no counts in"):
        model.predict_proba(cells, counts="umis")


def test_the_served_model_gives_the_same_labels(bundle_folder: Path, tmp_path: Path) -> None:
    cells = simulated_cells(700, seed=1)
    table = pd.DataFrame(cells.X.toarray().astype(int), columns=GENES, index=cells.obs_names)
    save_model(bundle_folder, tmp_path / "model")
    served = loaded(tmp_path / "model").predict(table.assign(library_size=cells.obs[OBS.library_size]))
    adata = sct.annotate(cells, str(bundle_folder))
    assert served[OBS.predicted_labels].tolist() == adata.obs[OBS.predicted_labels].tolist()
    np.testing.assert_array_equal(served[OBS.conf_score], adata.obs[OBS.conf_score])


def test_the_lines_of_the_readme(bundle_folder: Path, project: Path) -> None:
    """Those on its first screen, on cells in the place where `make demo` leaves some, with a bundle folder as model."""
    (lines,) = re.findall(r"^```python\n(.+?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (project / "data").mkdir()
    simulated_cells().write_h5ad(project / "data/new_cells.h5ad")
    assert lines.count('"celltype@champion"') == 1
    names: dict[str, Any] = {}
    exec(lines.replace('"celltype@champion"', repr(str(bundle_folder))), names)
    table = eval(lines.splitlines()[-1], names)
    assert set(table["predicted_labels"]) <= {*LABELS, "unknown"}
    assert table["conf_score"].between(0, 1).all()


def test_the_first_released_bundle_labels_cells_as_it_did() -> None:
    expected = json.loads((GOLDEN / "cells-0.1.0.json").read_text())
    adata = AnnData(sparse.csr_matrix(np.array(expected["counts"], dtype=np.float32)))
    adata.var_names = expected["genes"]
    adata.obs[OBS.library_size] = expected["library_size"]
    model = sct.load_model(GOLDEN / "bundle-0.1.0")
    assert model.identity == expected["identity"]
    np.testing.assert_allclose(model.predict_proba(adata), expected["probabilities"], atol=1e-5)
    assert sct.annotate(adata, model, threshold=0.0).obs[OBS.predicted_labels].tolist() == expected["labels"]
