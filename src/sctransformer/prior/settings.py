"""Settings of the prior network."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from sctransformer.settings import Settings, require_file_name

LEVELS = ("high", "medium", "low")
"""Confidence levels of a network's table."""
Control = Literal["shuffled", "random"]
Weight = Annotated[float, Field(gt=0.0, le=1.0)]


class PriorSettings(Settings):
    """Which network is the prior, and the weights of its edges."""

    network: Path = Path("src/sctransformer/prior/immune_network.tsv")
    """Tab-separated table with columns regulator, target, sign (1, -1, or 0 for unknown) and confidence (a level, or a
    number up to 1). `sctransformer prior build` makes one from published networks."""
    confidence: dict[str, Weight] = Field(default={"high": 1.0, "medium": 0.7, "low": 0.4})
    """Weight of each confidence level in the network's table."""
    control: Literal["none", Control] = "none"
    """Control network in place of the real one: `shuffled` keeps the in- and out-degree of every gene, `random` only
    the number of edges."""
    min_coverage: float = Field(default=0.05, ge=0.0, le=1.0)
    """Smallest fraction: of the panel's genes that have a regulator, or of the network's edges that are in the panel.
    The larger one counts."""
    min_targets: int = Field(default=5, ge=1)
    """Least number of targets in the panel that a regulator needs to have an activity (direction `targets`)."""
    strength: float = Field(default=1.0, ge=0.0)
    """How firmly training holds the weights of the edges at sign times confidence (direction `targets`): factor of
    their mean squared departure in the objective. 0: edges are free, and regulators may lose the meaning of their
    names."""

    @field_validator("network")
    @classmethod
    def _is_a_file(cls, value: Path) -> Path:
        return require_file_name(value)

    @field_validator("confidence")
    @classmethod
    def _has_known_levels(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := [level for level in value if level not in LEVELS]:
            raise ValueError(f"has the level {unknown[0]!r}; expected {', '.join(LEVELS)}")
        return value
