"""How training is computed. These settings do not change the result: a run can be resumed with other values."""

import shutil
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sctransformer.errors import UserError
from sctransformer.settings import Settings

if TYPE_CHECKING:  # settings are read by programs that compute nothing
    import torch

Precision = Literal["auto", "float32", "bfloat16"]


class Execution(Settings):
    """How the training loop is computed."""

    checkpoint_steps: int = Field(default=200, ge=0)
    """Write a checkpoint every N steps, beside the one at the end of each epoch; 0: at the end of epochs only."""
    precision: Precision = "auto"
    """Precision of matrix products; bfloat16 by autocast, weights stay float32. auto: bfloat16 on a GPU, else
    float32."""
    compiled: bool = False
    """Whether to use torch.compile: half a minute or more at the start, faster steps afterwards."""
    shared_weights: bool = False
    """Whether each process holds a shard of the weights, gradients and optimizer state (FSDP2), for a model that is
    too large for one GPU, instead of a copy of all (DDP)."""
    accumulate: int = Field(default=1, ge=1)
    """Number of parts in which a batch is computed, to save memory; the result is the same."""

    def autocast(self, device: "torch.device") -> "torch.autocast":
        """The context in which the model is computed on a device."""
        import torch

        lower = self.precision == "bfloat16" or (self.precision == "auto" and device.type == "cuda")
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=lower)

    def prepared(self, module: "torch.nn.Module") -> "torch.nn.Module":
        """The module, compiled if `compiled` is set; its weights are the same tensors.

        Raises:
            UserError: there is no compiler.
        """
        if not self.compiled:
            return module
        import torch

        if not any(map(shutil.which, ("cc", "gcc", "g++", "clang"))):
            raise UserError("train.compiled needs a C++ compiler, and none is installed; set train.compiled=false.")
        compiled: torch.nn.Module = torch.compile(module)  # type: ignore[assignment]
        return compiled
