"""The difference of two scorecards of `sctransformer prior score`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.errors import UserError
from sctransformer.evaluation.prior_score import Scorecard
from sctransformer.files import read_json

_VALUES = ("network", "difference", "low", "high", "passed")


class StoredCard(NamedTuple):
    """A scorecard as it is written."""

    cells: str
    """The cells that it was measured on."""
    measurements: Mapping[str, Mapping[str, Any]]
    """By name: `Measurement.summary`."""
    evidence: Mapping[str, float]


def stored_card(card: Scorecard, cells: str) -> StoredCard:
    """A scorecard that was measured now."""
    return StoredCard(cells, {one.name: one.summary() for one in card.measurements}, card.evidence)


def read_card(path: Path) -> StoredCard:
    """Read a file that `prior score --json` wrote.

    Raises:
        UserError: the file is no scorecard.
    """
    content = read_json(path)
    try:
        measurements = {str(one["name"]): {name: one[name] for name in _VALUES} for one in content["measurements"]}
        evidence = {str(name): float(value) for name, value in content["evidence"].items()}
        return StoredCard(str(content["cells"]), measurements, evidence)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is no scorecard, because it lacks or damages {error}; expected a file that "
            "`sctransformer prior score --json` wrote."
        ) from error


def compare_cards(first: StoredCard, second: StoredCard) -> dict[str, Any]:
    """Compare what two networks know about cells.

    Returns:
        `same_cells`; `measurements`, those that both have: name, values of both (`first`, `second`), and for both the
        difference to rewired networks (`first_difference`, `second_difference`) and whether they passed; and the
        regulators that beat rewired networks in both networks, only in the first (`lost`) or the second (`gained`).
    """
    rows = []
    for name, one in first.measurements.items():
        other = second.measurements.get(name)
        if other is None:
            continue
        rows.append(
            {
                "name": name,
                "first": one["network"],
                "second": other["network"],
                "change": other["network"] - one["network"],
                "first_difference": one["difference"],
                "second_difference": other["difference"],
                "change_of_difference": other["difference"] - one["difference"],
                "first_passed": one["passed"],
                "second_passed": other["passed"],
            }
        )
    beats = [{name for name, value in card.evidence.items() if value >= BEATS_SHUFFLES} for card in (first, second)]
    return {
        "same_cells": first.cells == second.cells,
        "measurements": rows,
        "regulators": {
            "both": sorted(beats[0] & beats[1]),
            "lost": sorted(beats[0] - beats[1]),
            "gained": sorted(beats[1] - beats[0]),
        },
    }
