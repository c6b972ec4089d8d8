"""Merging rows with the same regulator and target into one edge: confidence, sign and sources."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EDGE_COLUMNS = ("regulator", "target", "sign", "confidence", "sources")
SOURCE_SEPARATOR = ";"

Combination = Literal["highest", "noisy-or"]


class Merged(NamedTuple):
    """Edges, each pair once, and counts of what was merged."""

    edges: pd.DataFrame
    rows_J: NDArray[np.int64]
    """Number of rows merged into each edge."""
    sign_conflicts: int
    """Pairs with both signs; the sign with the greater summed confidence was kept."""
    sign_ties: int
    """Pairs with both signs and equal summed confidences; their sign is 0."""


def merge_pairs(table: pd.DataFrame, combination: Combination) -> Merged:
    """Merge the rows of each (regulator, target) pair into one edge; the order of the rows does not matter.

    - confidence: the highest of the rows, or their noisy-or `1 - prod(1 - confidence)`, the probability that at least
      one row is right if they were independent.
    - sign: the known sign with the greater summed confidence; 0 (unknown) if they tie. Rows of sign 0 do not vote.
    - sources: of all rows, each name once, sorted.

    Args:
        table: columns regulator, target, sign (-1, 0, 1), confidence in (0, 1] and sources (names joined by ";").
        combination: how confidences are combined.

    Returns:
        Edges with the columns of EDGE_COLUMNS, sorted by regulator and target.
    """
    regulator, regulators = pd.factorize(table["regulator"], sort=True)
    target, targets = pd.factorize(table["target"], sort=True)
    source, sources = pd.factorize(table["sources"])
    pair = regulator.astype(np.int64) * max(1, len(targets)) + target
    sign = table["sign"].to_numpy(dtype=np.int8)
    confidence = table["confidence"].to_numpy(dtype=np.float64)
    order = np.lexsort((sign, confidence, pair))  # sums then do not depend on the order of the rows
    pair, sign, confidence, source = pair[order], sign[order], confidence[order], source[order]
    first_J = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]])) if len(pair) else order
    rows_J = np.diff(np.append(first_J, len(pair)))

    if len(first_J) == 0:
        empty = table.reindex(columns=list(EDGE_COLUMNS)).astype({"sign": "int8", "confidence": "float64"})
        return Merged(empty.reset_index(drop=True), rows_J.astype(np.int64), 0, 0)
    up_J = np.add.reduceat(np.where(sign > 0, confidence, 0.0), first_J)
    down_J = np.add.reduceat(np.where(sign < 0, confidence, 0.0), first_J)
    conflict_J = (up_J > 0) & (down_J > 0)
    tie_J = conflict_J & np.isclose(up_J, down_J, rtol=1e-9, atol=0.0)
    edges = pd.DataFrame(
        {
            "regulator": np.asarray(regulators, dtype=object)[regulator[order][first_J]],
            "target": np.asarray(targets, dtype=object)[target[order][first_J]],
            "sign": np.where(tie_J, 0, np.sign(up_J - down_J)).astype(np.int8),
            "confidence": _combine_confidences(confidence, first_J, rows_J, combination),
            "sources": _join_sources(source, sources, first_J, rows_J),
        }
    )
    return Merged(edges, rows_J, int((conflict_J & ~tie_J).sum()), int(tie_J.sum()))


def _combine_confidences(
    confidence: NDArray[np.float64],
    first_J: NDArray[np.int64],
    rows_J: NDArray[np.int64],
    combination: Combination,
) -> NDArray[np.float64]:
    highest_J = np.maximum.reduceat(confidence, first_J)
    if combination == "highest":
        return highest_J
    with np.errstate(divide="ignore"):  # log of 0: a certain edge stays certain
        noisy_or_J = -np.expm1(np.add.reduceat(np.log1p(-confidence), first_J))
    # rounding must not lift an edge over 1 or push it under its best row, nor change an edge of one row
    return np.where(rows_J == 1, highest_J, np.clip(noisy_or_J, highest_J, 1.0))


def _join_sources(
    source: NDArray[np.int64], sources: pd.Index, first_J: NDArray[np.int64], rows_J: NDArray[np.int64]
) -> NDArray[np.object_]:
    names = [frozenset(_split_sources(text)) for text in sources]
    joined = np.array([SOURCE_SEPARATOR.join(sorted(each)) for each in names], dtype=object)
    joined_J = joined[source[first_J]]
    seen: dict[frozenset[int], str] = {}
    for edge in np.flatnonzero(rows_J > 1):
        members = frozenset(source[first_J[edge] : first_J[edge] + rows_J[edge]].tolist())
        if members not in seen:
            seen[members] = SOURCE_SEPARATOR.join(sorted(frozenset().union(*(names[member] for member in members))))
        joined_J[edge] = seen[members]
    return joined_J


def _split_sources(sources: str) -> list[str]:
    return [name for part in sources.split(SOURCE_SEPARATOR) if (name := " ".join(part.split()))]
