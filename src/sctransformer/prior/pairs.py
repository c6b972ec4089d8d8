"""Many lines of a pair become one edge: how confidences, signs and sources are brought together."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EDGE_COLUMNS = ("regulator", "target", "sign", "confidence", "sources")
BETWEEN_SOURCES = ";"

Combination = Literal["highest", "noisy-or"]


class Merged(NamedTuple):
    """Edges, one a pair, and what merging them took."""

    edges: pd.DataFrame
    lines_E: NDArray[np.int64]
    """Lines that each edge came from."""
    sign_conflicts: int
    sign_ties: int


def merge_pairs(table: pd.DataFrame, combination: Combination) -> Merged:
    """One edge for each pair of regulator and target, whatever the order of the lines.

    - confidence: the highest of the lines, or their noisy-or `1 - prod(1 - confidence)`: the chance that at least one
      is right, if they were independent.
    - sign: the known sign with the greater summed confidence. A tie is 0, not known. Lines of sign 0 do not vote.
    - sources: of all lines, each name once, sorted.

    Args:
        table: columns regulator, target, sign (-1, 0, 1), confidence in (0, 1] and sources (names joined by ";").

    Returns:
        Edges with the columns of EDGE_COLUMNS, sorted by regulator and target.
    """
    regulator_L, regulators = pd.factorize(table["regulator"], sort=True)
    target_L, targets = pd.factorize(table["target"], sort=True)
    source_L, sources = pd.factorize(table["sources"])
    pair_L = regulator_L.astype(np.int64) * max(1, len(targets)) + target_L
    sign_L = table["sign"].to_numpy(dtype=np.int8)
    confidence_L = table["confidence"].to_numpy(dtype=np.float64)
    order = np.lexsort((sign_L, confidence_L, pair_L))  # sums then do not depend on the order of the lines
    pair_L, sign_L, confidence_L, source_L = pair_L[order], sign_L[order], confidence_L[order], source_L[order]
    first_E = np.flatnonzero(np.concatenate([[True], pair_L[1:] != pair_L[:-1]])) if len(pair_L) else order
    lines_E = np.diff(np.append(first_E, len(pair_L)))

    if len(first_E) == 0:
        empty = table.reindex(columns=list(EDGE_COLUMNS)).astype({"sign": "int8", "confidence": "float64"})
        return Merged(empty.reset_index(drop=True), lines_E.astype(np.int64), 0, 0)
    up_E = np.add.reduceat(np.where(sign_L > 0, confidence_L, 0.0), first_E)
    down_E = np.add.reduceat(np.where(sign_L < 0, confidence_L, 0.0), first_E)
    conflict_E = (up_E > 0) & (down_E > 0)
    tie_E = conflict_E & np.isclose(up_E, down_E, rtol=1e-9, atol=0.0)
    edges = pd.DataFrame(
        {
            "regulator": np.asarray(regulators, dtype=object)[regulator_L[order][first_E]],
            "target": np.asarray(targets, dtype=object)[target_L[order][first_E]],
            "sign": np.where(tie_E, 0, np.sign(up_E - down_E)).astype(np.int8),
            "confidence": _combined(confidence_L, first_E, lines_E, combination),
            "sources": _united(source_L, sources, first_E, lines_E),
        }
    )
    return Merged(edges, lines_E, int((conflict_E & ~tie_E).sum()), int(tie_E.sum()))


def _combined(
    confidence_L: NDArray[np.float64],
    first_E: NDArray[np.int64],
    lines_E: NDArray[np.int64],
    combination: Combination,
) -> NDArray[np.float64]:
    highest_E = np.maximum.reduceat(confidence_L, first_E)
    if combination == "highest":
        return highest_E
    with np.errstate(divide="ignore"):  # log of 0: a certain edge stays certain
        noisy_or_E = -np.expm1(np.add.reduceat(np.log1p(-confidence_L), first_E))
    # rounding must lift no edge over 1, push none under its best line, nor touch an edge of one line
    return np.where(lines_E == 1, highest_E, np.clip(noisy_or_E, highest_E, 1.0))


def _united(
    source_L: NDArray[np.int64], sources: pd.Index, first_E: NDArray[np.int64], lines_E: NDArray[np.int64]
) -> NDArray[np.object_]:
    names = [frozenset(_names(text)) for text in sources]
    joined = np.array([BETWEEN_SOURCES.join(sorted(each)) for each in names], dtype=object)
    united_E = joined[source_L[first_E]]
    seen: dict[frozenset[int], str] = {}
    for edge in np.flatnonzero(lines_E > 1):
        members = frozenset(source_L[first_E[edge] : first_E[edge] + lines_E[edge]].tolist())
        if members not in seen:
            seen[members] = BETWEEN_SOURCES.join(sorted(frozenset().union(*(names[member] for member in members))))
        united_E[edge] = seen[members]
    return united_E


def _names(sources: str) -> list[str]:
    return [name for part in sources.split(BETWEEN_SOURCES) if (name := " ".join(part.split()))]
