"""Annotations as tables: Parquet with embeddings, or CSV with labels only; written one shard at a time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.results import Annotation

CELL = "cell"
"""Column with the names of the cells."""


def write_parquet(
    target: Path, cells: pd.Index, annotation: Annotation, columns: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Write one row per cell: its name, the columns, and the embedding as a list of fixed length.

    The schema's metadata have, under `sctransformer`, the JSON of what an h5ad file has in `uns["sctransformer"]`.

    Args:
        target: the file; it is incomplete while this runs.
        cells: names, in file order.
        annotation: with the embeddings.
        columns: see `label_columns`.
        provenance: see `fields.provenance`.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    schema = schema.insert(0, pa.field(CELL, pa.string()))
    schema = schema.append(pa.field(OBSM.embedding, pa.list_(pa.float32(), annotation.embedding_size)))
    schema = schema.with_metadata({UNS.annotation: json.dumps(provenance, sort_keys=True)})
    with parquet.ParquetWriter(target, schema) as writer:
        for start, embedding_NE in annotation.embeddings():
            rows = table.iloc[start : start + len(embedding_NE)]
            arrays = [pa.array(cells[start : start + len(rows)], pa.string())]
            arrays += [pa.Array.from_pandas(rows[name], type=schema.field(name).type) for name in rows]
            flat = pa.array(np.ascontiguousarray(embedding_NE).ravel())
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, annotation.embedding_size))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write_csv(target: Path, cells: pd.Index, annotation: Annotation, columns: dict[str, Any]) -> None:
    """Write one row per cell: its name and the columns, as CellTypist does.

    Raises:
        OSError: the file cannot be written.
    """
    table = pd.DataFrame(columns)
    block = annotation.store.plan.shard_cells
    with target.open("w", newline="") as stream:
        for start in range(0, len(table), block):
            rows = table.iloc[start : start + block].set_axis(cells[start : start + block])
            rows.to_csv(stream, header=start == 0, index_label=CELL)
