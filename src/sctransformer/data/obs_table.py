"""Tables obs and var of an open file, read and written in chunks of rows, because their names take much memory."""

from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

ROWS = 4096
"""Names read or written at a time."""
_KNOWN_VERSION = "0.2.0"
_CACHE_BYTES = 2**20


def limit_metadata_cache(file: h5py.File) -> None:
    """Limit the metadata cache of HDF5, which also holds texts, to one megabyte instead of up to 32."""
    settings = file.id.get_mdc_config()
    settings.set_initial_size, settings.initial_size = True, _CACHE_BYTES
    settings.min_size, settings.max_size = _CACHE_BYTES // 2, _CACHE_BYTES
    file.id.set_mdc_config(settings)


def read_table(element: Any) -> Any:
    """What `anndata.io.read_elem` gives for a table, in less memory where its names are plain text in HDF5.

    A table in memory is given as a shallow copy.
    """
    if isinstance(element, pd.DataFrame):
        return element.copy(deep=False)
    names = element.get(element.attrs.get("_index", "")) if isinstance(element, h5py.Group) else None
    known = element.attrs.get("encoding-version") == _KNOWN_VERSION
    if not known or not isinstance(names, h5py.Dataset) or h5py.check_string_dtype(names.dtype) is None:
        return read_elem(element)
    index = np.empty(len(names), dtype=object)
    for start in range(0, len(names), ROWS):
        index[start : start + ROWS] = names.asstr()[start : start + ROWS]
    columns = {str(name): read_elem(element[name]) for name in element.attrs["column-order"]}
    called = element.attrs["_index"]
    table = pd.DataFrame(columns, index=pd.Index(index, name=None if called == "_index" else called))
    return table[list(columns)]


def write_table(file: h5py.File, name: str, table: pd.DataFrame, rows: int = ROWS) -> None:
    """Write a table of texts, categories and numbers in chunks, because h5py copies each text."""
    write_elem(file, name, table.iloc[:rows], dataset_kwargs={"maxshape": (None,)})
    for start in range(rows, len(table), rows):
        append_rows(file[name], table.iloc[start : start + rows])


def append_rows(group: h5py.Group, table: pd.DataFrame) -> None:
    """Append rows to a table that was written with `maxshape=(None,)`; its categories must be the same."""
    _lengthen(group[group.attrs["_index"]], table.index.to_numpy(dtype=object))
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            _lengthen(group[name]["codes"], column.cat.codes.to_numpy())
        else:
            _lengthen(group[name], column.to_numpy())


def _lengthen(dataset: h5py.Dataset, values: NDArray[Any]) -> None:
    length = len(dataset)
    dataset.resize((length + len(values),))
    dataset[length:] = values
