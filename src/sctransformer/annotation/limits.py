"""The limits beyond which a cell is `unknown`: lowest confidence, highest novelty."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FULL_POWER = 0.9
"""Below this fraction of measured genes, novelty finds fewer foreign cells."""
_SLACK = 0.01
"""How far below the smallest fraction with a threshold that threshold is still used."""


@dataclass(frozen=True)
class Limits:
    """Limits for the cells of one file."""

    confidence: float
    """A cell under this confidence is rejected."""
    novelty: float | None = None
    """A cell above this novelty is rejected; None: novelty rejects no cell."""
    novelty_note: str | None = None
    """How the novelty limit was chosen, or why there is none; None if the model has no novelty score."""
    panels: "tuple[Limits, ...]" = ()
    """Limits for the cells of each panel of the file, see `Panels`; their confidence is the same."""

    def novelty_by_panel(self, panel_N: NDArray[np.integer]) -> NDArray[np.float64]:
        """The novelty above which each cell is rejected; infinite if none is.

        Args:
            panel_N: panel of each cell; -1 for none.
        """
        of_panel = [one.novelty for one in (*self.panels, self)]  # -1 selects the last
        return np.array([np.inf if limit is None else limit for limit in of_panel])[panel_N]


def limits_for(
    calibration: Mapping[str, Any], measured: float, threshold: float | None = None, reject_novel: bool = True
) -> Limits:
    """Limits for cells of which some of the panel's genes are measured.

    Args:
        calibration: see `Bundle.calibration`.
        measured: fraction of the panel's genes that is measured.
        threshold: lowest confidence; None: that of the model.
        reject_novel: whether novelty may reject a cell.
    """
    confidence = float(calibration["rejection_threshold"]) if threshold is None else float(threshold)
    if "novelty" not in calibration:
        return Limits(confidence)
    if not reject_novel:
        return Limits(confidence, novelty_note="not used: reject_novel is off")
    rows = sorted((row["measured"], row["threshold"]) for row in calibration["novelty"]["thresholds"])
    fractions, limits = zip(*rows, strict=True)
    if measured < fractions[0] - _SLACK:
        note = f"not used: {measured:.0%} of the panel's genes are measured, fewer than {fractions[0]:.0%}"
        return Limits(confidence, novelty_note=note)
    weak = ", where it finds fewer foreign cells" if measured < FULL_POWER else ""
    note = f"threshold for {measured:.0%} of the panel's genes{weak}"
    return Limits(confidence, float(np.interp(measured, fractions, limits)), note)
