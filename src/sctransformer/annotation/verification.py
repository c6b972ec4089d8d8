"""Outputs are read back before they are reported as written."""

import csv
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray
from pyarrow import parquet

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.fields import COLUMNS_WRITTEN
from sctransformer.annotation.results import Annotation
from sctransformer.annotation.settings import Format
from sctransformer.annotation.tables import CELL, without_formula
from sctransformer.data.opening import open_root
from sctransformer.errors import OutputError, UserError, one_line


def require_written(
    written: Path, output_format: Format, cells: pd.Index, columns: Mapping[str, Any], annotation: Annotation
) -> None:
    """Open an output again and compare what was added with what was to be written.

    Args:
        written: the output, still under its temporary name.
        output_format: of the output.
        cells: names of the cells, in file order.
        columns: columns of obs, see `label_columns`; an output may lack those that the input keeps as its own.
        annotation: with the embeddings.

    Raises:
        OutputError: the output cannot be read, or holds other names, labels or embeddings.
    """
    try:
        if output_format == "csv":
            _compare_csv(written, cells, columns)
        elif output_format == "parquet":
            _compare_parquet(written, cells, columns)
        else:
            _compare_anndata(written, cells, columns, annotation)
    except OutputError:
        raise
    except (UserError, OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, csv.Error) as error:
        raise OutputError(
            f"{written.name}: was written but cannot be read again ({one_line(error)}); check the disk and run again."
        ) from error


def _compare_csv(written: Path, cells: pd.Index, columns: Mapping[str, Any]) -> None:
    text = {name: values for name, values in columns.items() if isinstance(values, pd.Categorical)}
    n_rows = 0
    with written.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            _require(written, "the number of rows", n_rows < len(cells))
            _require(written, "the names of the cells", row[CELL] == without_formula(cells[n_rows]))
            for name, values in text.items():
                expected = "" if values.codes[n_rows] < 0 else without_formula(values[n_rows])
                _require(written, f"column {name!r}", row[name] == expected)
            n_rows += 1
    _require(written, "the number of rows", n_rows == len(cells))


def _compare_parquet(written: Path, cells: pd.Index, columns: Mapping[str, Any]) -> None:
    table = parquet.read_table(written, columns=[CELL, *columns]).to_pandas()
    _require(
        written, "the names of the cells", np.array_equal(table[CELL], np.asarray(cells.astype(str), dtype=object))
    )
    for name, values in columns.items():
        _require(written, f"column {name!r}", _equal(table[name].to_numpy(), np.asarray(values)))


def _compare_anndata(written: Path, cells: pd.Index, columns: Mapping[str, Any], annotation: Annotation) -> None:
    root, file = open_root(written)
    with file or nullcontext():
        obs = root["obs"]
        names = read_elem(obs[obs.attrs["_index"]])
        _require(written, "the names of the cells", np.array_equal(_text(names), _text(cells)))
        listed = {name.decode() if isinstance(name, bytes) else str(name) for name in obs.attrs["column-order"]}
        ours = {str(name) for name in np.atleast_1d(read_elem(root[f"uns/{UNS.annotation}"])[COLUMNS_WRITTEN])}
        for name in ours:
            found = read_elem(obs[name])
            _require(written, f"obs[{name!r}]", name in listed and _equal(np.asarray(found), np.asarray(columns[name])))
        embedding = root["obsm"][OBSM.embedding]
        for start, rows_NE in annotation.embeddings():
            found_NE = embedding[start : start + len(rows_NE)]
            _require(written, f"obsm[{OBSM.embedding!r}]", np.array_equal(found_NE, rows_NE, equal_nan=True))
        for start, *expected in annotation.activities() if annotation.store.activities else []:
            for name, values_NR in zip((OBSM.regulators, OBSM.regulators_mrna), expected, strict=True):
                found_NR = root["obsm"][name][start : start + len(values_NR)]
                _require(written, f"obsm[{name!r}]", np.array_equal(found_NR, values_NR, equal_nan=True))


def _text(names: Any) -> NDArray[np.object_]:
    """Names as an array of str, whatever kind of text a file holds."""
    return np.array([str(name) for name in names], dtype=object)


def _equal(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether two columns hold the same values; missing values are equal."""
    if expected.dtype.kind == "f":
        return bool(np.array_equal(found, expected, equal_nan=True))
    return bool(np.array_equal(np.where(pd.isna(found), "", found), np.where(pd.isna(expected), "", expected)))


def _require(written: Path, what: str, equal: bool) -> None:
    if not equal:
        raise OutputError(
            f"{written.name}: {what} were read back with other values than were written; check the disk and run again."
        )
