"""Annotations as tables: Parquet with embeddings, or CSV with labels only; written one shard at a time."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
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
) -> None:
    """Write one row per cell: its name, the columns, probabilities, and the embedding as a list of fixed length.

    The schema's metadata have, under `sctransformer`, the JSON of what an h5ad file has in `uns["sctransformer"]`.

    Args:
        target: the file; it is incomplete while this runs.
        cells: names, in file order.
        annotation: with the embeddings.
        columns: see `label_columns`.
        provenance: see `fields.provenance`.
        cell_types: names of all cell types to write their probabilities; empty: not written.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    schema = schema.insert(0, pa.field(CELL, pa.string()))
    for name in cell_types:
        schema = schema.append(pa.field(probability_column(name), pa.float32()))
    schema = schema.append(pa.field(OBSM.embedding, pa.list_(pa.float32(), annotation.embedding_size)))
    schema = schema.with_metadata({UNS.annotation: json.dumps(provenance, sort_keys=True)})
    with parquet.ParquetWriter(target, schema) as writer:
        for (start, embedding_NE), (_, probabilities_NC) in zip(
            annotation.embeddings(), annotation.probabilities(), strict=True
        ):
            rows = table.iloc[start : start + len(embedding_NE)]
            arrays = [pa.array(cells[start : start + len(rows)], pa.string())]
            arrays += [pa.Array.from_pandas(rows[name], type=schema.field(name).type) for name in rows]
            arrays += [pa.array(probabilities_NC[:, index]) for index in range(len(cell_types))]
            flat = pa.array(np.ascontiguousarray(embedding_NE).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, annotation.embedding_size))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write_csv(
    target: Path, cells: pd.Index, annotation: Annotation, columns: dict[str, Any], cell_types: Sequence[str] = ()
) -> None:
    """Write one row per cell: its name, the columns and probabilities, as CellTypist does.

    Names of cells and labels that a spreadsheet would run as a formula get an apostrophe, see `without_formula`.

    Args:
        target, cells, annotation, columns, cell_types: see `write_parquet`.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    for name in table.select_dtypes("category"):
        table[name] = table[name].cat.rename_categories(without_formula)
    names = [probability_column(name) for name in cell_types]
    # the writer quotes line feeds, but a carriage return only if it quotes every text
    returns = cells.astype(str).str.contains("\r", regex=False).any()
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    with target.open("w", newline="") as stream:
        for start, probabilities_NC in annotation.probabilities():
            part = slice(start, start + len(probabilities_NC))
            rows = table.iloc[part].set_axis(cells[part].map(without_formula))
            if names:
                rows = rows.join(pd.DataFrame(probabilities_NC, index=rows.index, columns=names))
            rows.to_csv(stream, header=start == 0, index_label=CELL, quoting=quoting)


def without_formula(name: object) -> str:
    """A name as text in a spreadsheet: with an apostrophe before it if it would be read as a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = str(name)
    return f"'{text}" if text.startswith(_FORMULA) else text


def probability_column(cell_type: str) -> str:
    """Name of the column with the probabilities of a cell type."""
    return f"probability_{cell_type}"
