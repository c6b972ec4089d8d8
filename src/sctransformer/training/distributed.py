"""Collective operations over the processes that train together."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """The default process group of torch.distributed; a single process where it is not initialized."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "ProcessGroup":
        """The group of this process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def max(self, value: float, device: torch.device) -> float:
        """Maximum over all processes."""
        held = torch.tensor(value, dtype=torch.float64, device=device)
        if self.size > 1:
            dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return float(held)

    def gather(self, values: Tensor) -> Tensor:
        """Concatenation over all processes in the order of ranks; each process has the same number of rows."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)
