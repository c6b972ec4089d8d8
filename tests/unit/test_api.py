"""The public API: light to import, and without the libraries that it does not need."""

import copy
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sctransformer as sct
from sctransformer import api
from tests.conftest import simulated_cells

HEAVY = ("torch", "mlflow", "ray", "dvc", "pandas", "anndata", "numpy", "scanpy", "onnxruntime")


def output_of(program: str, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys\nimport sctransformer\ndir(sctransformer)\n"
        "assert not [name for name in sys.argv[1:] if name in sys.modules], sys.modules"
    )
    assert output_of(program, *HEAVY) == ""


def test_the_package_and_its_stub_have_the_public_names_of_the_api() -> None:
    assert [name for name in sct.__all__ if name != "__version__"] == api.__all__
    assert sorted(sct.__all__) == dir(sct)
    stub = Path(sct.__file__).with_suffix(".pyi").read_text()
    assert [line.split()[-1] for line in stub.splitlines() if line.startswith("from sctransformer.api")] == api.__all__
    assert all(f"`{name}`" in str(api.__doc__) for name in api.__all__)
    assert Path(sct.__file__).with_name("py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sct.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["train", "register", "promote", "rollback", "read_network", "read_bundle", "report"])
def test_functions_behind_the_commands_are_public_and_documented(name: str) -> None:
    function = getattr(sct, name)
    assert "Raises:" in str(inspect.getdoc(function))


def test_a_model_describes_itself(bundle_folder: Path) -> None:
    model = sct.load_model(bundle_folder)
    assert repr(model).splitlines() == [
        f"sctransformer model {bundle_folder} with 3 cell types and 24 genes",
        "    version: unregistered",
        "    date: 2026-01-01T00:00:00+00:00",
        "    cell types: alpha, beta, gamma",
        "    genes: GENE0, GENE1, GENE2 and 21 more",
        "    network: 20 edges, 4 regulators",
        "    activities: none",
        "    metrics: macro-F1 0.900, accuracy 0.920 on 60 test cells",
        "    threshold: 0.3",
        f"    identity: {model.identity[:12]}",
    ]


def test_models_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(sct.UserError, match="nowhere: no such folder"):
        sct.load_model(tmp_path / "nowhere")
    with pytest.raises(sct.UserError, match="model bundle"):
        sct.annotate(simulated_cells(), tmp_path)


@pytest.mark.parametrize("reference", [None, 3, ["a"], "x" * 5000, "a\0b"])
def test_what_is_no_reference_is_refused(reference: Any) -> None:
    with pytest.raises(sct.UserError, match="NAME/VERSION"):
        sct.load_model(reference)


def test_a_model_that_has_labelled_cells_can_be_copied(bundle_folder: Path) -> None:
    """Joblib and Dask send such copies to other processes."""
    model, cells = sct.load_model(bundle_folder), simulated_cells()
    expected = model.predict_proba(cells)
    pd.testing.assert_frame_equal(copy.deepcopy(model).predict_proba(cells), expected)


def test_labelling_needs_no_training_library(bundle_folder: Path, tmp_path: Path) -> None:
    """In a process that cannot import these libraries."""
    simulated_cells().write_h5ad(tmp_path / "cells.h5ad")
    program = """
import sys
absent = ("torch", "mlflow", "ray", "dvc", "scanpy", "great_expectations")
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
import anndata
import sctransformer as sct
model = sct.load_model(sys.argv[1])
adata = sct.annotate(anndata.read_h5ad(sys.argv[2]), model)
print((adata.obs["predicted_labels"].astype(str) == adata.obs["cell_type"].astype(str)).mean() > 0.9)
assert not [name for name in absent if name in sys.modules]
"""
    assert output_of(program, bundle_folder, tmp_path / "cells.h5ad") == "True"
