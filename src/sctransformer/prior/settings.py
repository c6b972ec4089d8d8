"""Settings of the prior network."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sctransformer.settings import Settings

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
    """Smallest fraction of the panel's genes that must have a regulator."""
