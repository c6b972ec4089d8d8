"""A training task: the recipes for model and cells that every worker follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sctransformer.data.arrays import TrainingCells
from sctransformer.model import Model
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution

Files = Mapping[str, Path]


@dataclass(frozen=True)
class Task:
    """What every worker needs. Shipped to the workers, so it holds recipes rather than cells."""

    make_model: Callable[[Files], Model]
    """Builds the model with fresh weights; called after seeding, so that all workers build the same."""
    load_cells: Callable[[Files], TrainingCells]
    """Opens the cells."""
    config: TrainConfig
    execution: Execution = field(default_factory=Execution)
    files: Files = field(default_factory=dict)
    """What the recipes read, by the names under which they look for it."""
