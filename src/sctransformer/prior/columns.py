"""Which column of a published network is which, and what its signs and confidences mean."""

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
"""Weight of DoRothEA's confidence levels: one over the rank, as decoupler's `op.dorothea` weighs them (E continues)."""

_ACTIVATES = ("1", "+", "activation", "activating", "activates", "activator", "stimulation", "positive", "up")
_REPRESSES = ("-1", "-", "repression", "repressing", "represses", "repressor", "inhibition", "negative", "down")
_UNKNOWN = ("0", "-0", "unknown", "?")
_SIGN_OF = {**dict.fromkeys(_ACTIVATES, 1), **dict.fromkeys(_REPRESSES, -1), **dict.fromkeys(_UNKNOWN, 0), "+1": 1}
_YES_NO = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}


@dataclass(frozen=True)
class Recognised:
    """Columns of a table by what they mean; None: there is none."""

    regulator: str
    target: str
    sign: str | None
    levels: str | None
    """Confidences: letters, words, or numbers."""
    weight: str | None
    """Signed weight: its sign is the sign, its size the confidence unless `levels` has one."""
    importance: str | None
    stimulation: str | None
    """OmniPath's four columns stand for the sign together; this is the first."""

    @property
    def used(self) -> set[str]:
        """Names of the columns that are read."""
        named = (self.regulator, self.target, self.sign, self.levels, self.weight, self.importance, self.stimulation)
        return {name for name in named if name is not None}


def recognise(label: str, names: Sequence[str]) -> Recognised:
    """Find the columns by their names, whatever their case.

    Raises:
        UserError: none names the regulator, or none the target.
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
            f"{label}: no column names the {wanted}; columns are {found[:300]}: rename them or add a header."
        )
    sign = first(SIGN_NAMES)
    stimulation = first([STIMULATION]) if first([INHIBITION]) and sign is None else None
    return Recognised(regulator, target, sign, first(LEVEL_NAMES), first([WEIGHT]), first([IMPORTANCE]), stimulation)


def signs(table: Table, columns: Recognised) -> NDArray[np.int8]:
    """Sign of each line; 0 everywhere if the table has none.

    Raises:
        UserError: a sign is none of those known.
    """
    if columns.sign is not None:
        values = table.column(columns.sign)
        sign_L = _parsed(values, _sign)
        table.refuse(np.isnan(sign_L), columns.sign, values, "1 (activates), -1 (represses) or 0 (not known)")
    elif columns.stimulation is not None:
        sign_L = _omnipath_signs(table)
    elif columns.weight is not None:
        sign_L = np.sign(_weights(table, columns.weight))
    else:
        sign_L = np.zeros(len(table))
    return sign_L.astype(np.int8)


def confidences(table: Table, columns: Recognised, words: Mapping[str, float]) -> NDArray[np.float64]:
    """Confidence of each line in (0, 1]: of its level, of its weight's size, of its importance's rank, or 1.

    Importances (GRNBoost2, GENIE3) come from one regression a target and are heavy-tailed: over the largest of them
    nearly every edge would weigh nothing. So their ranks are taken: the share of all lines with no greater importance.

    Raises:
        UserError: a value is neither a known level nor a number in range.
    """
    if columns.levels is not None:
        values = table.column(columns.levels)
        confidence_L = _parsed(values, lambda text: _level(text, words))
        expected = f"A to E, {', '.join(words)}, or a number above 0 and up to 1"
        table.refuse(~((confidence_L > 0) & (confidence_L <= 1)), columns.levels, values, expected)
        return confidence_L
    if columns.importance is not None:
        values = table.column(columns.importance)
        importance_L = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        bad = ~(np.isfinite(importance_L) & (importance_L >= 0))
        table.refuse(bad, columns.importance, values, "a number from 0 up")
        return rank_share(importance_L)
    if columns.weight is not None:
        return np.abs(_weights(table, columns.weight))
    return np.ones(len(table))


def rank_share(importance_L: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of all values that are no greater: the greatest has 1, even ones the same, none 0."""
    return pd.Series(importance_L).rank(method="max").to_numpy(dtype=np.float64) / max(1, len(importance_L))


def letters(table: Table, columns: Recognised) -> pd.Series | None:
    """DoRothEA's level of each line, the best where it has several (`A;D`); None if the table has no such levels."""
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
        flag_L = _parsed(values, lambda text: _YES_NO.get(text.lower()))
        table.refuse(np.isnan(flag_L), by_name[name], values, "0 or 1")
        return flag_L

    plain_L = flags(STIMULATION) - flags(INHIBITION)
    consensus_L = flags(CONSENSUS_STIMULATION) - flags(CONSENSUS_INHIBITION)
    return np.where(plain_L != 0, plain_L, np.where(flags(STIMULATION) > 0, consensus_L, 0.0))


def _weights(table: Table, name: str) -> NDArray[np.float64]:
    values = table.column(name)
    weight_L = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    table.refuse(~((np.abs(weight_L) <= 1) & (weight_L != 0)), name, values, "a number from -1 to 1 other than 0")
    return weight_L


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
    """Parse each distinct value once; what cannot be parsed is NaN."""
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    parsed = [parse(str(value)) for value in unique]
    return np.array([np.nan if value is None else value for value in parsed], dtype=np.float64)[codes]


def _plain(name: str) -> str:
    return re.sub(r"[\s.-]+", "_", name.strip().lower())
