"""The served model: a table of counts in, labels out, plain errors, and no training library."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from sctransformer._constants import OBS
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.session import ScoringSession
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.packaging import save_model
from tests.conftest import GENES, LABELS, simulated_cells
from tests.integration.test_registry_models import changed


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(bundle_folder, folder)
    return folder


@pytest.fixture(scope="module")
def model(model_folder: Path) -> mlflow.pyfunc.PyFuncModel:
    return loaded(model_folder)


def loaded(folder: Path) -> mlflow.pyfunc.PyFuncModel:
    """Load a model with MLflow, and restore the import path, which MLflow extends with the model's own package."""
    before = sys.path.copy()
    try:
        return mlflow.pyfunc.load_model(str(folder))
    finally:
        sys.path[:] = before


@pytest.fixture
def table() -> pd.DataFrame:
    """Counts of simulated cells with their library sizes, as a person would have them."""
    cells = simulated_cells(30, seed=1)
    counts = pd.DataFrame(cells.X.toarray().astype(int), columns=GENES, index=cells.obs_names)
    return counts.assign(library_size=cells.obs[OBS.library_size])


def test_the_order_of_columns_does_not_matter(
    model: mlflow.pyfunc.PyFuncModel, bundle_folder: Path, table: pd.DataFrame
) -> None:
    bundle = read_bundle(bundle_folder)
    counts_NG = table[GENES].to_numpy(dtype=np.float32)
    sizes_N = table[OBS.library_size].to_numpy(dtype=np.float32)
    expected = ScoringSession(bundle).score(counts_NG, sizes_N).probabilities_NC
    shuffled = table.sample(frac=1.0, axis="columns", random_state=3)
    result = model.predict(shuffled)
    assert list(result.columns) == [OBS.predicted_labels, OBS.conf_score, "rejected", OBS.raw_labels]
    assert result.index.equals(table.index)
    assert result[OBS.predicted_labels].tolist() == [LABELS[label] for label in expected.argmax(axis=1)]
    np.testing.assert_allclose(result[OBS.conf_score], expected.max(axis=1), rtol=1e-5)
    assert result[OBS.raw_labels].tolist() == result[OBS.predicted_labels].tolist()
    assert (result[OBS.predicted_labels] == [LABELS[index % 3] for index in range(30)]).mean() > 0.8


def test_the_library_size_is_the_row_sum_unless_it_is_given(
    model: mlflow.pyfunc.PyFuncModel, table: pd.DataFrame
) -> None:
    # The other counts of the cell may also be in genes that the model does not know.
    rest = (table[OBS.library_size] - table[GENES].sum(axis=1)).astype(int)
    complete = table[GENES].assign(OTHER=rest)
    pd.testing.assert_frame_equal(model.predict(complete), model.predict(table))
    without = model.predict(table[GENES])
    assert not np.allclose(without[OBS.conf_score], model.predict(table)[OBS.conf_score])


def test_no_cells_one_cell_and_many(model: mlflow.pyfunc.PyFuncModel, table: pd.DataFrame) -> None:
    assert model.predict(table.head(0)).shape == (0, 4)
    many = pd.concat([table] * 40, ignore_index=True)
    result = model.predict(many)
    assert len(result) == 1200
    pd.testing.assert_series_equal(result.iloc[-1], model.predict(many.tail(1)).iloc[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(GENE3=-1), "cell 'cell0', gene 'GENE3' is -1, negative"),
        (lambda table: table.assign(GENE3=np.nan), "gene 'GENE3' is nan, neither a number"),
        (lambda table: table.assign(GENE3=0.5), r"gene 'GENE3' is 0\.5, not an integer; it looks log-normalised"),
        (lambda table: table.assign(GENE3="many"), "expected numbers in every gene's column"),
        (
            lambda table: table.assign(library_size=1.0),
            "library_size of row 'cell0' is 1.0, expected a number no smaller",
        ),
        (lambda table: table.assign(library_size="x"), "library_size of row 'cell0' is x"),
        (lambda table: table[GENES[:10]], r"under the minimum of 80\.0%; most expressed missing genes: GENE"),
        (lambda table: table.rename(columns=str.lower), "more names match when case is ignored"),
        (lambda table: table[[OBS.library_size]], r"0\.0% of .*, under the minimum of 80\.0%"),
        (lambda table: table[GENES[:10]], "check that the list of columns holds gene names"),
        (
            lambda table: pd.concat([table, table[[OBS.library_size]]], axis="columns"),
            "has 2 columns 'library_size', expected one at most",
        ),
        (lambda table: table.to_numpy(), "expected a table with one column per gene, found ndarray"),
    ],
)
def test_bad_input_is_named(model: mlflow.pyfunc.PyFuncModel, table: pd.DataFrame, change, message: str) -> None:  # noqa: ANN001
    with pytest.raises(MlflowException, match=message) as caught:
        model.predict(change(table))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_cells_are_rejected_as_annotate_rejects_them(bundle_folder: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    """Under the bundle's threshold, and cells without counts, however confident."""
    strict = changed(bundle_folder, tmp_path / "strict", calibration={"rejection_threshold": 0.9})
    save_model(strict, tmp_path / "model")
    empty = table.head(1).assign(**dict.fromkeys(GENES, 0)).rename(index={"cell0": "empty"})
    asked = pd.concat([table, empty])
    found = loaded(tmp_path / "model").predict(asked)

    cells = anndata.AnnData(asked[GENES].to_numpy(dtype=np.float32), obs=asked[[OBS.library_size]])
    cells.var_names = GENES
    cells.write_h5ad(tmp_path / "cells.h5ad")
    output = annotate_file(Model(read_bundle(strict), "strict", "1"), tmp_path / "cells.h5ad", tmp_path / "out").output
    expected = anndata.read_h5ad(output).obs
    assert found[OBS.predicted_labels].tolist() == expected[OBS.predicted_labels].tolist()
    assert found[OBS.raw_labels].tolist() == expected[OBS.raw_labels].tolist()
    assert "unknown" not in set(found[OBS.raw_labels])
    assert (found["rejected"] == (found[OBS.predicted_labels] == "unknown")).all()
    assert found["rejected"].dtype == bool
    assert 0 < found["rejected"].sum() < len(found)
    assert found.loc["empty", "rejected"]


def test_the_signature_fixes_no_genes(model: mlflow.pyfunc.PyFuncModel) -> None:
    assert model.metadata.get_input_schema() is None
    assert model.metadata.get_output_schema().input_names() == [
        OBS.predicted_labels,
        OBS.conf_score,
        "rejected",
        OBS.raw_labels,
    ]


def test_the_input_example_can_be_labelled(model: mlflow.pyfunc.PyFuncModel) -> None:
    example = model.input_example
    assert set(example.columns) == {*GENES, OBS.library_size}
    assert model.predict(example)[OBS.predicted_labels].iloc[0] in LABELS


@pytest.mark.slow
def test_only_code_that_scoring_imports_is_saved(model_folder: Path) -> None:
    code = model_folder / "code" / "sctransformer"
    saved = {path.relative_to(code).as_posix() for path in code.rglob("*.*") if "__pycache__" not in path.parts}
    assert {"__init__.py", "annotation/session.py", "data/symbol_aliases.tsv", "export/bundle.py"} <= saved
    assert not {"data/simulator.py", "annotation/writers.py", "export/graph.py", "layout.py", "model"} & saved


def test_the_model_needs_no_training_library_and_no_installed_package(model_folder: Path, tmp_path: Path) -> None:
    """In another process, where `sctransformer` can only come from the model's own folder."""
    script = tmp_path / "serve.py"
    script.write_text(
        f"""
import sys, mlflow.pyfunc
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "ray", "dvc", "great_expectations", "scanpy", "anndata", "sklearn"):
            raise ImportError(f"{{name}} is not installed here")
sys.meta_path.insert(0, Absent())
sys.path = [path for path in sys.path if not path.endswith("src")]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
model = mlflow.pyfunc.load_model({str(model_folder)!r})
print(model.predict(model.input_example)["predicted_labels"].iloc[0])
import sctransformer
assert sctransformer.__file__.startswith({str(model_folder)!r}), sctransformer.__file__
heavy = ("torch", "ray", "dvc", "great_expectations", "scanpy", "anndata", "sklearn")
assert not [name for name in heavy if name in sys.modules], [name for name in heavy if name in sys.modules]
"""
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in LABELS
