"""Columns of published networks: recognising them by name, and parsing signs and confidences."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.errors import UserError
from sctransformer.prior.tables import Table

REGULATOR_NAMES = ("regulator", "source_genesymbol", "tf", "transcription_factor", "tf_name", "source")
TARGET_NAMES = ("target_genesymbol", "target", "target_gene", "target_symbol", "gene_symbol", "gene_short_name", "gene")
SIGN_NAMES = ("sign", "mor", "mode_of_regulation", "regulation", "effect")
LEVEL_NAMES = ("confidence", "dorothea_level")
STIMULATION, INHIBITION = "is_stimulation", "is_inhibition"
CONSENSUS_STIMULATION, CONSENSUS_INHIBITION = "consensus_stimulation", "consensus_inhibition"
WEIGHT, IMPORTANCE = "weight", "importance"

LETTERS: Mapping[str, float] = {letter: 1 / rank for rank, letter in enumerate("ABCDE", start=1)}
"""Weight of DoRothEA's confidence levels: one over the rank, as in decoupler's `op.dorothea`, continued for E."""

_ACTIVATES = ("1", "+", "activation", "activating", "activates", "activator", "stimulation", "positive", "up")
_REPRESSES = ("-1", "-", "repression", "repressing", "represses", "repressor", "inhibition", "negative", "down")
_UNKNOWN = ("0", "-0", "unknown", "?")
_SIGN_OF = {**dict.fromkeys(_ACTIVATES, 1), **dict.fromkeys(_REPRESSES, -1), **dict.fromkeys(_UNKNOWN, 0), "+1": 1}
_YES_NO = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}


@dataclass(frozen=True)
class NetworkColumns:
    """Names of the columns of a network table; None if there is no such column."""

    regulator: str
    target: str
    sign: str | None
    levels: str | None
    """Confidences: letters, words or numbers."""
    weight: str | None
    """Signed weight: its sign is the sign of the edge, its size the confidence if there are no levels."""
    importance: str | None
    stimulation: str | None
    """The first of OmniPath's four columns that together give the sign."""

    @property
    def used(self) -> set[str]:
        """The columns that are read."""
        named = (self.regulator, self.target, self.sign, self.levels, self.weight, self.importance, self.stimulation)
        return {name for name in named if name is not None}


def recognise(label: str, names: Sequence[str]) -> NetworkColumns:
    """Recognise the columns by name; case does not matter.

    Args:
        label: name of the file, for messages.
        names: names of its columns.

    Raises:
        UserError: there is no regulator column or no target column.
    """
    by_name = {_plain(name): name for name in reversed(names)}

    def first(candidates: Sequence[str], taken: str | None = None) -> str | None:
        return next((by_name[name] for name in candidates if name in by_name and by_name[name] != taken), None)

    regulator = first(REGULATOR_NAMES)
    target = first(TARGET_NAMES, regulator)
    if regulator is None and target is not None and target != by_name.get("gene"):
        regulator = by_name.get("gene")  # gene, target
    if regulator is None or target is None:
        wanted = "regulator (" + ", ".join(REGULATOR_NAMES) + ")" if regulator is None else ""
        wanted += " and " if regulator is None and target is None else ""
        wanted += "target (" + ", ".join(TARGET_NAMES) + ")" if target is None else ""
        found = ", ".join(repr(name) for name in names[:12]) + (", ..." if len(names) > 12 else "")
        raise UserError(
            f"{label}: has no column for the {wanted}; columns are {found[:300]}: rename them or add a header."
        )
    sign = first(SIGN_NAMES)
    stimulation = first([STIMULATION]) if first([INHIBITION]) and sign is None else None
    return NetworkColumns(
        regulator, target, sign, first(LEVEL_NAMES), first([WEIGHT]), first([IMPORTANCE]), stimulation
    )


def signs(table: Table, columns: NetworkColumns) -> NDArray[np.int8]:
    """Sign of each row; 0 if the table has no signs.

    Raises:
        UserError: a sign is not recognised.
    """
    if columns.sign is not None:
        values = table.column(columns.sign)
        parsed = _parsed(values, _sign)
        table.refuse(np.isnan(parsed), columns.sign, values, "1 (activates), -1 (represses) or 0 (unknown)")
    elif columns.stimulation is not None:
        parsed = _omnipath_signs(table)
    elif columns.weight is not None:
        parsed = np.sign(_weights(table, columns.weight))
    else:
        parsed = np.zeros(len(table))
    return parsed.astype(np.int8)


def confidences(table: Table, columns: NetworkColumns, words: Mapping[str, float]) -> NDArray[np.float64]:
    """Confidence of each row, in (0, 1]: from its level, its importance, the size of its weight, or else 1.

    Importances (GRNBoost2, GENIE3) come from one regression per target and are heavy-tailed; divided by the largest,
    nearly all would be close to 0. Their ranks are used instead: the fraction of rows with no greater importance.

    Args:
        table: the table.
        columns: its columns.
        words: weight of each confidence word.

    Raises:
        UserError: a value is neither a known level nor a number in the allowed range.
    """
    if columns.levels is not None:
        values = table.column(columns.levels)
        confidence = _parsed(values, lambda text: _level(text, words))
        expected = f"A to E, {', '.join(words)}, or a number above 0 and up to 1"
        table.refuse(~((confidence > 0) & (confidence <= 1)), columns.levels, values, expected)
        return confidence
    if columns.importance is not None:
        values = table.column(columns.importance)
        importance = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        bad = ~(np.isfinite(importance) & (importance >= 0))
        table.refuse(bad, columns.importance, values, "a number of at least 0")
        return rank_share(importance)
    if columns.weight is not None:
        return np.abs(_weights(table, columns.weight))
    return np.ones(len(table))


def rank_share(importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of values that are not greater, in (0, 1]; equal values have the same rank."""
    return pd.Series(importance).rank(method="max").to_numpy(dtype=np.float64) / max(1, len(importance))


def letters(table: Table, columns: NetworkColumns) -> pd.Series | None:
    """DoRothEA level of each row, the best of several (`A;D`); None if the table has no such levels."""
    if columns.levels is None:
        return None
    codes, unique = pd.factorize(table.column(columns.levels))
    first = [value.split(";")[0].strip() for value in unique]
    return pd.Series(np.array(first, dtype=object)[codes]) if first and set(first) <= set(LETTERS) else None


def _omnipath_signs(table: Table) -> NDArray[np.float64]:
    by_name = {_plain(name): name for name in table.names}

    def flags(name: str) -> NDArray[np.float64]:
        if name not in by_name:
            return np.zeros(len(table))
        values = table.column(by_name[name])
        flag = _parsed(values, lambda text: _YES_NO.get(text.lower()))
        table.refuse(np.isnan(flag), by_name[name], values, "0 or 1")
        return flag

    direct = flags(STIMULATION) - flags(INHIBITION)
    consensus = flags(CONSENSUS_STIMULATION) - flags(CONSENSUS_INHIBITION)
    return np.where(direct != 0, direct, np.where(flags(STIMULATION) > 0, consensus, 0.0))


def _weights(table: Table, name: str) -> NDArray[np.float64]:
    values = table.column(name)
    weight = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    table.refuse(~((np.abs(weight) <= 1) & (weight != 0)), name, values, "a number from -1 to 1 other than 0")
    return weight


def _sign(text: str) -> float | None:
    return _SIGN_OF.get(re.sub(r"\.0+$", "", text.lower()))


def _level(text: str, words: Mapping[str, float]) -> float | None:
    first = text.split(";")[0].strip()
    known = words.get(text, LETTERS.get(first))
    if known is not None:
        return known
    try:
        return float(text)
    except ValueError:
        return None


def _parsed(values: pd.Series, parse: Callable[[str], float | None]) -> NDArray[np.float64]:
    """Parse each distinct value once; a value that cannot be parsed becomes NaN."""
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    parsed = [parse(str(value)) for value in unique]
    return np.array([np.nan if value is None else value for value in parsed], dtype=np.float64)[codes]


def _plain(name: str) -> str:
    return re.sub(r"[\s.-]+", "_", name.strip().lower())
