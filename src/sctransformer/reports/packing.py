"""Packing the content of a report for the script of its page: numbers as base64 of small whole numbers."""

import base64
import json
import unicodedata
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from sctransformer._constants import BEATS_SHUFFLES, OBS
from sctransformer.charts import colour_scale
from sctransformer.reports.content import Regulators, Report, ShownCells, Values

MOST_BYTES = 14_000_000
"""Size of the packed data; activities of more regulators are left out."""
ACTIVITY_LIMIT = 6.0
"""Activities beyond this number of standard deviations are shown as this."""
MOST_TARGETS = 200
"""Targets of a regulator in the page, the strongest."""
_LONGEST_NAME = 60
_OF = {OBS.conf_score: OBS.raw_labels, OBS.second_score: OBS.second_labels}
"""The label that a probability is of."""


def clean(text: object) -> str:
    """Text without control characters, without marks that change the direction of text, and without half characters."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(one) in ("Cc", "Cf", "Cs") else one for one in text)


def cleaned(content: Any) -> Any:
    """All texts of JSON content, cleaned."""
    if isinstance(content, str):
        return clean(content)
    if isinstance(content, dict):
        return {clean(name): cleaned(value) for name, value in content.items()}
    return [cleaned(one) for one in content] if isinstance(content, list) else content


def island(content: Any) -> Markup:
    """JSON that is safe between script tags: `<` is written as an escape, so no text can end the tag."""
    text = json.dumps(cleaned(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def pack_codes(code_N: NDArray[np.integer], n_codes: int) -> dict[str, Any]:
    """Positions in a list of names; negative ones are missing."""
    size = 1 if n_codes < 255 else 2
    kind, missing = (np.uint8, 255) if size == 1 else (np.dtype("<u2"), 65535)
    kept_N = np.where((code_N < 0) | (code_N >= missing), missing, code_N)
    return {"size": size, "data": _base64(kept_N.astype(kind))}


def pack_values(
    value_N: NDArray[np.floating], size: int, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """Values between two ends as whole numbers of 1 or 2 bytes; the largest number stands for a missing value.

    Args:
        value_N: the values; those beyond the ends are shown as the ends.
        size: bytes per value: 254 or 65,534 steps between the ends.
        low, high: the ends; None: the smallest and the largest value.
    """
    known_N = np.isfinite(value_N)
    low = (float(value_N[known_N].min()) if known_N.any() else 0.0) if low is None else low
    high = (float(value_N[known_N].max()) if known_N.any() else 1.0) if high is None else high
    high = high if high > low else low + 1.0
    missing = 255 if size == 1 else 65535
    place_N = (np.clip(np.where(known_N, value_N, low), low, high).astype(np.float64) - low) / (high - low)
    code_N = np.where(known_N, np.rint(place_N * (missing - 1)), missing)
    return {"size": size, "low": low, "high": high, "data": _base64(code_N.astype(np.uint8 if size == 1 else "<u2"))}


def pack_report(report: Report) -> dict[str, Any]:
    """The content of a report as JSON; activities of as many regulators as fit."""
    diverging = colour_scale(True)
    packed: dict[str, Any] = {
        "beats": BEATS_SHUFFLES,
        "colours": {
            "diverging": diverging,
            "sequential": colour_scale(False),
            "low": diverging[10],
            "high": diverging[-11],
        },
        "cells": None if report.cells is None else _pack_cells(report.cells),
        "regulators": None if report.regulators is None else _pack_regulators(report.regulators),
    }
    if report.cells is not None and report.regulators is not None and report.cells.activity_NR is not None:
        left = MOST_BYTES - len(island(packed))
        packed["regulators"]["activity"] = _pack_activities(report.cells.activity_NR, report.regulators, left)
    return packed


def fitting_regulators(regulators: Regulators, n_cells: int, left: int) -> NDArray[np.int64]:
    """The regulators whose activities fit into a number of bytes.

    Those that beat rewired networks come first, then those whose mean differs most between cell types.
    """
    each = (n_cells * 4) // 3 + 100
    most = max(left // each, 0)
    return preferred(regulators)[:most]


def preferred(regulators: Regulators) -> NDArray[np.int64]:
    """Positions of the regulators: first those that beat rewired networks, then by the spread of their means."""
    with np.errstate(invalid="ignore"):
        spread_R = np.nan_to_num(_range(regulators.mean_CR), nan=-1.0)
    return np.lexsort((-spread_R, ~beats(regulators)))


def beats(regulators: Regulators) -> NDArray[np.bool_]:
    """Whether each regulator beats rewired networks; all do where evidence was not measured."""
    if regulators.evidence_R is None:
        return np.ones(len(regulators.names), dtype=bool)
    return np.asarray(regulators.evidence_R >= BEATS_SHUFFLES)


def _range(mean_CR: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(mean_CR):
        return np.zeros(mean_CR.shape[1])
    known_CR = np.isfinite(mean_CR)
    high_R = np.where(known_CR, mean_CR, -np.inf).max(axis=0)
    low_R = np.where(known_CR, mean_CR, np.inf).min(axis=0)
    return np.asarray(np.where(known_CR.any(axis=0), high_R - low_R, np.nan))


def _pack_cells(cells: ShownCells) -> dict[str, Any]:
    top = None
    if cells.top is not None:
        code_N, names = pd.factorize(np.array(cells.top, dtype=object))
        top = {"names": [str(name) for name in names], "codes": pack_codes(code_N, len(names))}
    return {
        "names": [_shortened(name) for name in cells.names],
        "x": pack_values(cells.position_N2[:, 0], 2),
        "y": pack_values(cells.position_N2[:, 1], 2),
        "groupings": [
            {"key": key, "title": one.title, "names": one.names, "codes": pack_codes(one.code_N, len(one.names))}
            for key, one in cells.groupings.items()
        ],
        "values": [_pack_column(key, one, cells) for key, one in cells.values.items()],
        "top": top,
    }


def _pack_column(key: str, one: Values, cells: ShownCells) -> dict[str, Any]:
    of = _OF.get(key)
    known = {"key": key, "title": one.title, "limit": one.limit, "of": of if of in cells.groupings else None}
    return known | pack_values(one.value_N, 2)


def _pack_regulators(regulators: Regulators) -> dict[str, Any]:
    packed: dict[str, Any] = {
        "names": regulators.names,
        "evidence": None if regulators.evidence_R is None else _plain(regulators.evidence_R, 4),
        "types": regulators.types,
        "means": [_plain(row, 3) for row in regulators.mean_CR],
        "cells": regulators.cells,
        **{str(name): _plain(column.to_numpy(), 6) for name, column in regulators.details.items()},
    }
    if regulators.edges is not None:
        packed["edges"], packed["sources"] = _pack_edges(regulators.names, regulators.edges)
    return packed


def _pack_edges(names: list[str], edges: pd.DataFrame) -> tuple[list[Any], list[str]]:
    """The strongest targets of each regulator: target, sign, confidence, source, weights, attention."""
    texts = edges["sources"].fillna("").astype(str) if "sources" in edges else pd.Series("", index=edges.index)
    source_J, sources = pd.factorize(texts)
    rounded = edges.round({"before": 4, "after": 4, "attention": 5, "confidence": 4})
    table = rounded.assign(source=source_J)
    order = ["target", "sign", "confidence", "source", "before", "after", "attention"]
    found = {}
    for name, own in table.groupby("regulator", sort=False):
        rows = own[order].head(MOST_TARGETS).astype(object)
        found[str(name)] = {"total": len(own), "rows": rows.where(rows.notna(), None).to_numpy().tolist()}
    return [found.get(name, {"total": 0, "rows": []}) for name in names], [str(one) for one in sources]


def _pack_activities(
    activity_NR: NDArray[np.float32], regulators: Regulators, left: int
) -> list[dict[str, Any] | None]:
    packed: list[dict[str, Any] | None] = [None] * len(regulators.names)
    for r in fitting_regulators(regulators, len(activity_NR), left):
        if np.isfinite(activity_NR[:, r]).any():
            packed[r] = pack_values(activity_NR[:, r], 1, -ACTIVITY_LIMIT, ACTIVITY_LIMIT)
    return packed


def _plain(values: NDArray[Any], digits: int) -> list[float | None]:
    return [round(float(one), digits) if np.isfinite(one) else None for one in values]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
