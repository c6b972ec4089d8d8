"""On which processes training runs, and where it keeps its files. These settings do not change the result."""

from typing import Literal, Self

from pydantic import Field, model_validator

from sctransformer import layout
from sctransformer.settings import Settings

Placement = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]


class Workers(Settings):
    """The processes that train. Their number does not change the result beyond float32 noise."""

    count: int = Field(default=2, ge=0, validation_alias="workers", serialization_alias="workers")
    """Number of Ray Train workers; 0: train in this process without Ray, which starts sooner, for small data."""
    minimum: int | None = Field(default=None, ge=1, validation_alias="min_workers", serialization_alias="min_workers")
    """Train with as few workers as this when there is no room for more; if not given, always with all."""
    cpus: float = Field(default=1, gt=0.0, validation_alias="cpus_per_worker", serialization_alias="cpus_per_worker")
    """CPUs that Ray reserves per worker; torch uses as many threads, also without Ray."""
    gpus: bool = False
    """One GPU per worker (NCCL) instead of CPUs (gloo); without Ray, the GPU of this machine."""
    placement: Placement = "PACK"
    """How Ray places workers on nodes; see Ray's placement strategies."""
    max_restarts: int = Field(default=3, ge=0)
    """How often lost Ray workers are replaced before the run fails."""

    @model_validator(mode="after")
    def _require_no_more_than_all(self) -> Self:
        if self.minimum is not None and self.minimum > self.count:
            raise ValueError(f"min_workers is {self.minimum}; expected at most workers ({self.count})")
        return self


class Storage(Settings):
    """Where a run keeps its checkpoints, and how workers hold the cells."""

    storage: str = layout.CHECKPOINTS.as_posix()
    """Folder, or URL of any storage that fsspec supports, for checkpoints; on a cluster, all nodes must reach it."""
    cells: Literal["auto", "memory", "stream"] = "auto"
    """Whether workers hold all cells in memory or read them from disk in chunks; auto: by their size."""
