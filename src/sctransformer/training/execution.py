"""How a training is computed, apart from what it computes: a run may go on with other values than it began with."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Execution:
    """Switches of the loop."""

    checkpoint_steps: int = 0
    """A checkpoint every so many steps, beside the one at the end of each epoch; 0: none."""
