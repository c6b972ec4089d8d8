"""Which of how many processes this is, and what they do together."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """From torch.distributed where it runs, else one process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def most(self, value: float, device: torch.device) -> float:
        """Largest of a figure over all processes."""
        held = torch.tensor(value, dtype=torch.float64, device=device)
        if self.size > 1:
            dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return float(held)

    def gathered(self, values: Tensor) -> Tensor:
        """Concatenation over all processes, rank 0 first; every process gives as many rows."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)
