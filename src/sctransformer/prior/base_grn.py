"""CellOracle's base GRN as a network: one row per peak of a gene, one column of 0 and 1 per factor."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sctransformer.errors import UserError, one_line
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.tables import is_symbol, parquet_columns, truncated

PEAK, TARGET = "peak_id", "gene_short_name"
_COLUMNS_AT_ONCE = 64
_ROWS_AT_ONCE = 2000
_INDEX = ("", "row", "index")
_BEYOND = "fields beyond the header"


def base_grn_from_parquet(path: Path, names: Sequence[str], source: str) -> Network:
    """Read a Parquet file in blocks of columns: the whole table would take gigabytes of memory.

    Raises:
        UserError: a value is neither 0 nor 1, a gene has no name, or all values are 0.
    """
    target_name = _target_of(path, names)
    factors = _factors_of(path, names)
    targets = parquet_columns(path, [target_name])[target_name].map(
        lambda value: "" if value is None else str(value).strip()
    )
    _check_targets(path, targets, 1, "row")

    def blocks() -> Iterator[tuple[pd.Series, pd.DataFrame, int]]:
        for start in range(0, len(factors), _COLUMNS_AT_ONCE):
            yield targets, parquet_columns(path, factors[start : start + _COLUMNS_AT_ONCE]), 1

    return _network(path, blocks(), source, "row")


def base_grn_from_text(path: Path, text: str, separator: str, header: Sequence[str], source: str) -> Network:
    """Read a text table in blocks of rows.

    Raises:
        UserError: as `base_grn_from_parquet`.
    """
    names = [name or ("row" if index == 0 else f"column {index + 1}") for index, name in enumerate(header)]
    target_name, factors = _target_of(path, names), _factors_of(path, names)
    skipped = text[: len(text) - len(text.lstrip("\n"))].count("\n") + 1  # blank lines and the header

    def blocks() -> Iterator[tuple[pd.Series, pd.DataFrame, int]]:
        reader = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            names=[*names, _BEYOND],
            skiprows=skipped,
            chunksize=_ROWS_AT_ONCE,
            keep_default_na=False,
            index_col=False,
            dtype={target_name: str},
            skip_blank_lines=False,
        )
        first = skipped + 1
        for block in reader:
            beyond = block[_BEYOND].map(lambda value: value == value and str(value).strip() != "").to_numpy(dtype=bool)
            if beyond.any():
                line = first + int(beyond.argmax())
                raise UserError(f"{path}: line {line} has more fields than the header's {len(names)}.")
            targets = block[target_name].astype(object).map(lambda value: str(value).strip())
            _check_targets(path, targets, first, "line")
            yield targets, block[factors], first
            first += len(block)

    try:
        return _network(path, blocks(), source, "line")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: cannot be read as a base GRN ({one_line(error)}).") from error


def _network(path: Path, blocks: Iterator[tuple[pd.Series, pd.DataFrame, int]], source: str, unit: str) -> Network:
    regulators: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for names, block, first in blocks:
        if len(names) != len(block):
            raise UserError(f"{path}: has {len(names)} genes in {len(block)} {unit}s; the file is damaged.")
        for factor in block.columns:
            values = pd.to_numeric(block[factor], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            bad = ~((values == 0) | (values == 1))
            if bad.any():
                position = int(bad.argmax())
                raise UserError(
                    f"{path}: {unit} {first + position} has {factor} {truncated(block[factor].iloc[position])}; "
                    "expected 0 or 1."
                )
            binds = np.flatnonzero(values)
            regulators.append(np.full(len(binds), str(factor).strip(), dtype=object))
            targets.append(names.to_numpy(dtype=object)[binds])
    lines = pd.DataFrame(
        {
            "regulator": np.concatenate([np.empty(0, dtype=object), *regulators]),
            "target": np.concatenate([np.empty(0, dtype=object), *targets]),
            "sign": 0,
            "confidence": 1.0,
            "sources": source,
        }
    )
    return repaired(lines, str(path), Repairs(format="base-grn"))


def _target_of(path: Path, names: Sequence[str]) -> str:
    found = next((name for name in names if name.lower() == TARGET), None)
    if found is None:
        raise UserError(f"{path}: has no column {TARGET}, which is expected in a base GRN of CellOracle.")
    return found


def _factors_of(path: Path, names: Sequence[str]) -> list[str]:
    apart = {PEAK, TARGET, *_INDEX}
    factors = [name for name in names if name.lower() not in apart and not name.startswith(("__index", "Unnamed:"))]
    if not factors:
        raise UserError(f"{path}: has no factor columns besides {PEAK} and {TARGET}.")
    if len(set(names)) != len(names):
        raise UserError(f"{path}: two columns have the same name; give each factor one column.")
    bad = next((name for name in factors if not is_symbol(name)), None)
    if bad is not None:
        raise UserError(f"{path}: the header has {truncated(bad)}; expected a gene symbol.")
    return factors


def _check_targets(path: Path, targets: pd.Series, first: int, unit: str) -> None:
    bad = np.array([not is_symbol(value) for value in targets], dtype=bool)
    if bad.any():
        position = int(bad.argmax())
        raise UserError(
            f"{path}: {unit} {first + position} has {TARGET} {truncated(targets.iloc[position])}; expected a gene "
            "symbol."
        )
