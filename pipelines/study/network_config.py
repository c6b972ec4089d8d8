"""The YAML file of `pipelines.study.network`, typed: network, cells, truths, arms and seeds."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipelines.study.config import NetworkSection, Overrides
from sctransformer.settings import Settings

Arm = Literal["real", "shuffled", "factors", "untrained", "held_out"]


class CellsSection(Settings):
    """One file of cells, and what is known about its regulators."""

    file: Path
    group_column: str | None = None
    """Column of obs with the groups or populations below."""
    high_group: str | None = None
    """Group in which `expected` regulators are more active than in all other cells."""
    expected: tuple[str, ...] = ()
    known_regulators: Path | None = None
    """Tab-separated table: population, regulator."""
    knock_out: bool = False
    """Whether the edges of a model trained on these cells are compared with the knock-outs."""


class NetworkStudy(Settings):
    """What a study of the network trains and compares."""

    network: NetworkSection
    cells: dict[str, CellsSection] = Field(min_length=1)
    knock_out: Path | None = None
    """Tab-separated table of measured effects: regulator, target."""
    binding: Path | None = None
    """Parquet table of bound genes, columns tf and target: evidence for edges that is independent of the network."""
    parameters: Overrides = Field(default={})
    """Parameters of all arms, as in params.yaml."""
    arms: tuple[Arm, ...] = ("real", "shuffled", "factors", "untrained", "held_out")
    """`shuffled`: rewired networks with the same degrees; `factors`: no regulators; `untrained`: the signed mean of the
    targets; `held_out`: a fifth of the edges is left out."""
    factors: tuple[int, ...] = (0, 16)
    """Numbers of unnamed factors beside the regulators; the activity is compared with the first."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed has its own training cells, hidden genes and initial weights."""
    shuffles: int = Field(default=1, ge=1)
    """Number of shuffled networks per seed."""
    validation_cells: int = Field(default=1000, ge=10)
    """Held-out cells on which R2 of hidden genes is measured; at most half of the cells."""
