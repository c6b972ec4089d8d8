"""Annotations as tables: Parquet with embeddings, or CSV with labels only; written one shard at a time."""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.results import Annotation

CELL = "cell"
"""Column with the names of the cells."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet read a field as a formula."""


def write_parquet(
    target: Path,
    cells: pd.Index,
    annotation: Annotation,
    columns: dict[str, Any],
    provenance: dict[str, Any],
    cell_types: Sequence[str] = (),
    regulators: Sequence[str] = (),
) -> None:
    """Write one row per cell: its name, the columns, probabilities, activities, and the embedding as a list.

    The schema's metadata have, under `sctransformer`, the JSON of what an h5ad file has in `uns["sctransformer"]`.

    Args:
        target: the file; it is incomplete while this runs.
        cells: names, in file order.
        annotation: with the embeddings.
        columns: see `label_columns`.
        provenance: see `fields.provenance`.
        cell_types: names of all cell types to write their probabilities; empty: not written.
        regulators: names of all regulators to write their activities; empty: not written.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    schema = schema.insert(0, pa.field(CELL, pa.string()))
    for name in cell_types:
        schema = schema.append(pa.field(probability_column(name), pa.float32()))
    for name in regulators:
        schema = schema.append(pa.field(activity_column(name), pa.float32()))
    schema = schema.append(pa.field(OBSM.embedding, pa.list_(pa.float32(), annotation.embedding_size)))
    schema = schema.with_metadata({UNS.annotation: json.dumps(provenance, sort_keys=True)})
    with parquet.ParquetWriter(target, schema) as writer:
        for (start, embedding_NE), (_, probabilities_NC), activity_NR in zip(
            annotation.embeddings(), annotation.probabilities(), _activities(annotation, regulators), strict=False
        ):
            rows = table.iloc[start : start + len(embedding_NE)]
            arrays = [pa.array(cells[start : start + len(rows)], pa.string())]
            arrays += [pa.Array.from_pandas(rows[name], type=schema.field(name).type) for name in rows]
            arrays += [pa.array(probabilities_NC[:, index]) for index in range(len(cell_types))]
            arrays += [pa.array(activity_NR[:, index]) for index in range(len(regulators))]
            flat = pa.array(np.ascontiguousarray(embedding_NE).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, annotation.embedding_size))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write_csv(
    target: Path,
    cells: pd.Index,
    annotation: Annotation,
    columns: dict[str, Any],
    cell_types: Sequence[str] = (),
    regulators: Sequence[str] = (),
) -> None:
    """Write one row per cell: its name, the columns, probabilities and activities, as CellTypist does.

    Names of cells and labels that a spreadsheet would run as a formula get an apostrophe, see `without_formula`.

    Args:
        target, cells, annotation, columns, cell_types, regulators: see `write_parquet`.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    for name in table.select_dtypes("category"):
        table[name] = table[name].cat.rename_categories(without_formula)
    probability_names = [probability_column(name) for name in cell_types]
    activity_names = [activity_column(name) for name in regulators]
    # the writer quotes line feeds, but a carriage return only if it quotes every text
    returns = cells.astype(str).str.contains("\r", regex=False).any()
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    with target.open("w", newline="") as stream:
        activities = _activities(annotation, regulators)
        for (start, probabilities_NC), activity_NR in zip(annotation.probabilities(), activities, strict=False):
            part = slice(start, start + len(probabilities_NC))
            rows = table.iloc[part].set_axis(cells[part].map(without_formula))
            more = [
                pd.DataFrame(values, index=rows.index, columns=names)
                for values, names in ((probabilities_NC, probability_names), (activity_NR, activity_names))
                if names
            ]
            rows = pd.concat([rows, *more], axis=1) if more else rows
            rows.to_csv(stream, header=start == 0, index_label=CELL, quoting=quoting)


def _activities(annotation: Annotation, regulators: Sequence[str]) -> Iterator[NDArray[np.float32]]:
    """Activities, one shard after another; without regulators, empty arrays without end."""
    if regulators:
        return (activity_NR for _, activity_NR, _ in annotation.activities())
    return itertools.repeat(np.empty((0, 0), dtype=np.float32))


def without_formula(name: object) -> str:
    """A name as text in a spreadsheet: with an apostrophe before it if it would be read as a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = str(name)
    return f"'{text}" if text.startswith(_FORMULA) else text


def probability_column(cell_type: str) -> str:
    """Name of the column with the probabilities of a cell type."""
    return f"probability_{cell_type}"


def activity_column(regulator: str) -> str:
    """Name of the column with the activities of a regulator."""
    return f"regulator:{regulator}"
