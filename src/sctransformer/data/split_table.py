"""Splits given as a table, so that all models and studies use the same cells for training and testing."""

from pathlib import Path

import numpy as np
import pandas as pd

from sctransformer._constants import OBS, SPLITS, UNLABELLED
from sctransformer.data.splits import ALL_SPLITS, TEST, TRAIN, as_splits
from sctransformer.errors import UserError, one_line

PERCENT = 100


def read_split_table(path: Path) -> pd.DataFrame:
    """Read a table of cells: Parquet, CSV or TSV; cells are named by the first column, or the index of a Parquet file.

    Raises:
        UserError: the file is missing or not a table, or a cell is repeated.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; prepare.split_table expects a table of cells and their splits.")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", index_col=0, encoding="utf-8-sig")
    except Exception as error:  # pandas and pyarrow raise many types of errors for damaged files
        raise UserError(f"{path}: is not a readable table ({one_line(error)}).") from error
    table.index = table.index.astype(str)
    if not table.index.is_unique:
        cell = table.index[table.index.duplicated()][0]
        raise UserError(f"{path}: cell {cell!r} occurs more than once; give each cell one split.")
    return table


def table_splits(
    table: pd.DataFrame, cells: pd.Index, fraction: float, seed: int, source: str
) -> tuple[pd.Categorical, bool]:
    """Split of each cell from a table.

    There are two forms: a column `split` with `train`, `validation`, `test` or `unlabelled`; or boolean columns, `test`
    or `test_s{seed}` for test cells, and `labelled_{percent}_s{seed}` for training cells whose label may be used.

    Args:
        table: one row per cell, see `read_split_table`.
        cells: names of the cells to split; all must be in the table, which may have more.
        fraction: fraction of the training cells that keep their label; selects `labelled_{percent}_s{seed}`.
        seed: selects among columns of several seeds.
        source: name of the table in errors.

    Returns:
        The splits, and whether the table chooses the labelled cells.

    Raises:
        UserError: a cell or a column is missing, or a test cell is labelled for training.
    """
    absent = cells[~cells.isin(table.index)]
    if len(absent):
        raise UserError(
            f"{source}: {len(absent):,} of {len(cells):,} cells are missing, the first is {absent[0]!r}; check that "
            "the table belongs to these cells."
        )
    table = table.loc[cells]
    if OBS.split in table:
        values = table[OBS.split].astype("string").str.strip()
        wrong = ~values.isin(ALL_SPLITS)
        if wrong.any():
            raise UserError(
                f"{source}: cell {table.index[int(wrong.to_numpy().argmax())]!r} has the split "
                f"{values[wrong].iloc[0]!r}; expected one of {', '.join(ALL_SPLITS)}."
            )
        return as_splits(values.to_numpy(dtype=object)), bool((values == UNLABELLED).any())
    test_N = _flags(table, ["test", f"test_s{seed}"], source)
    split_N = np.where(test_N, TEST, TRAIN).astype(object)
    percent = f"{fraction * PERCENT:g}"
    labelled = f"labelled_{percent}_s{seed}"
    if labelled not in table:
        if any(str(name).startswith("labelled_") for name in table) and fraction < 1.0:
            raise UserError(f"{source}: has no column {labelled!r} (columns: {_columns(table)}).")
        return as_splits(split_N), False
    labelled_N = _flags(table, [labelled], source)
    if (both_N := labelled_N & test_N).any():
        raise UserError(
            f"{source}: cell {table.index[int(both_N.argmax())]!r} is a test cell and labelled for training "
            f"({labelled}); keep one."
        )
    split_N[~labelled_N & ~test_N] = UNLABELLED
    return as_splits(split_N), True


def _flags(table: pd.DataFrame, names: list[str], source: str) -> np.ndarray:
    present = [name for name in names if name in table]
    if not present:
        raise UserError(
            f"{source}: has neither a column 'split' nor {' nor '.join(map(repr, names))} "
            f"(columns: {_columns(table)}); 'split' expects one of {', '.join(SPLITS)}."
        )
    values = table[present[0]]
    if values.dtype.kind != "b":
        text = values.astype("string").str.strip().str.lower()
        wrong = ~text.isin(["true", "false", "1", "0"])
        if wrong.any():
            raise UserError(f"{source}: column {present[0]!r} has {text[wrong].iloc[0]!r}; expected true or false.")
        values = text.isin(["true", "1"])
    return values.to_numpy(dtype=bool)


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))
