"""An output that does not hold what was written is not reported as written, and leaves nothing behind."""

import csv
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sctransformer._constants import OBS, OBSM
from sctransformer.annotation import pipeline
from sctransformer.annotation.in_memory import annotate_adata
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.results import Annotation
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.tables import write_csv
from sctransformer.annotation.verification import _equal, require_written
from sctransformer.errors import OutputError
from sctransformer.export.bundle import read_bundle


@pytest.fixture
def model(bundle_folder: Path) -> Model:
    return Model(read_bundle(bundle_folder), "m", "1")


@pytest.fixture
def source(cells: AnnData, tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    return path


def flip_label(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        codes = file[f"obs/{OBS.predicted_labels}/codes"]
        codes[0] = (codes[0] + 1) % 3


def drop_column(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[f"obs/{OBS.conf_score}"]


def hide_column(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        names = [name for name in file["obs"].attrs["column-order"] if name != OBS.conf_score]
        file["obs"].attrs["column-order"] = np.array(names, dtype=h5py.string_dtype())


def zero_embedding(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[f"obsm/{OBSM.embedding}"][40:] = 0.0


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_last_row(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("damage", "output_format", "message"),
    [
        (flip_label, "anndata", r"obs\['predicted_labels'\] were read back with other values"),
        (drop_column, "anndata", "cannot be read again"),
        (hide_column, "anndata", r"obs\['conf_score'\] were read back with other values"),
        (zero_embedding, "anndata", r"obsm\['X_sctransformer'\] were read back with other values"),
        (truncate, "anndata", "cannot be read again"),
        (truncate, "parquet", "cannot be read again"),
        (truncate, "csv", "read back with other values|cannot be read again"),
        (drop_last_row, "csv", "the number of rows were read back"),
    ],
)
def test_a_damaged_output_is_refused(
    model: Model,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    output_format: Any,
    message: str,
) -> None:
    name = {"anndata": "write_annotated", "parquet": "write_parquet", "csv": "write_csv"}[output_format]
    write = getattr(pipeline, name)

    def damaged(*arguments: Any) -> None:
        write(*arguments)
        damage(arguments[1] if output_format == "anndata" else arguments[0])

    monkeypatch.setattr(pipeline, name, damaged)
    settings = AnnotationSettings(format=output_format)
    with pytest.raises(OutputError, match=message):
        annotate_file(model, source, tmp_path / "out", settings)
    assert not [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")]
    monkeypatch.undo()
    assert annotate_file(model, source, tmp_path / "out", settings).cells == 90


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_columns_that_differ_by_letter_case_are_renamed(
    model: Model, cells: AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    cells.obs["Predicted_Labels"] = "mine"
    path = tmp_path / f"cells.{kind}"
    cells.write_h5ad(path) if kind == "h5ad" else cells.write_zarr(path)
    with caplog.at_level(logging.WARNING):
        output = annotate_file(model, path, tmp_path / "out").output
    assert "obs['Predicted_Labels'] differs from a column of the annotation by letter case alone" in caplog.text
    in_memory = annotate_adata(cells, model, AnnotationSettings())
    assert (in_memory.obs["Predicted_Labels_input"] == "mine").all()
    result = (anndata.read_h5ad if kind == "h5ad" else anndata.read_zarr)(output)
    assert (result.obs["Predicted_Labels_input"] == "mine").all()
    assert "Predicted_Labels" not in result.obs
    assert set(result.obs[OBS.predicted_labels]) <= {"alpha", "beta", "gamma", "unknown"}


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_any_names_of_cells_survive_csv(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Apart from the apostrophe before a formula."""
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    columns = {OBS.predicted_labels: pd.Categorical(["+", *names[1:]])}
    write_csv(path, pd.Index(names), cast(Annotation, _OneShard(len(names))), columns)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["cell"].removeprefix("'") for row in rows] == [name.removeprefix("'") for name in names]
    assert not any(row["cell"].startswith(("=", "+", "-", "@")) for row in rows)
    require_written(path, "csv", pd.Index(names), columns, cast(Annotation, None))


class _OneShard:
    """As much of an annotation as a table without embeddings reads."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells

    def probabilities(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        yield 0, np.zeros((self.n_cells, 0), dtype=np.float32)


def test_missing_values_are_equal() -> None:
    assert _equal(np.array(["a", None], dtype=object), np.array(["a", np.nan], dtype=object))
    assert not _equal(np.array(["a", None], dtype=object), np.array(["a", "b"], dtype=object))
    assert _equal(np.float32([1.0, np.nan]), np.float32([1.0, np.nan]))
