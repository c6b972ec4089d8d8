"""How a training is computed, apart from what it computes: a run may go on with other values than it began with."""

import shutil
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from sctransformer.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Execution:
    """Switches of the loop.

    Raises:
        ValueError: a value with which no run can start.
    """

    checkpoint_steps: int = 0
    """A checkpoint every so many steps, beside the one at the end of each epoch; 0: none."""
    precision: Precision = "auto"
    """Of matrix products; `bfloat16` by autocast, weights stay float32. auto: bfloat16 on a GPU, else float32."""
    compiled: bool = False
    """Whether the model goes through torch.compile: half a minute or more at the start, faster steps after."""
    shared_weights: bool = False
    """Several processes hold each a part of the weights, gradients and moments (FSDP2), for a model that is too large
    for one of them, instead of all holding all (DDP)."""
    accumulate: int = 1
    """A batch is computed in so many parts, for what does not fit in memory at once; the result is the same."""

    def __post_init__(self) -> None:
        if self.checkpoint_steps < 0:
            raise ValueError(f"checkpoint_steps is {self.checkpoint_steps}; it must not be negative")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate}; it must be at least 1")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision is {self.precision!r}; expected one of {', '.join(get_args(Precision))}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which the model is computed on a device."""
        lower = self.precision == "bfloat16" or (self.precision == "auto" and device.type == "cuda")
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=lower)

    def prepared(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module, compiled if that was asked for; its weights are the same tensors.

        Raises:
            UserError: there is nothing to compile with.
        """
        if not self.compiled:
            return module
        if not any(map(shutil.which, ("cc", "gcc", "g++", "clang"))):
            raise UserError("train.compiled needs a C++ compiler, and none is installed; set train.compiled=false.")
        compiled: torch.nn.Module = torch.compile(module)  # type: ignore[assignment]
        return compiled
