"""Checkpoints: weights, best weights, optimizer and progress, as safetensors and JSON. No pickle."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far training has come. All that is random follows from (seed, epoch, step), so no RNG state is kept."""

    epochs_done: int = 0
    best_epoch: int = -1
    best_macro_f1: float = -1.0
    best_loss: float = float("inf")

    def improved_by(self, macro_f1: float, loss: float) -> bool:
        """Whether an epoch is better: higher validation macro-F1, or the same with a lower validation loss."""
        return (macro_f1, -loss) > (self.best_macro_f1, -self.best_loss)


@dataclass
class Checkpoint:
    """All that a run needs to go on as if it had never stopped."""

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    """Flat: `<parameter index>.<name of the moment>`."""
    progress: Progress


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint into a folder, which must exist."""
    save_file(checkpoint.weights, folder / WEIGHTS)
    save_file(checkpoint.best, folder / BEST)
    save_file(checkpoint.optimizer, folder / OPTIMIZER)
    (folder / PROGRESS).write_text(json.dumps(dataclasses.asdict(checkpoint.progress)))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote."""
    return Checkpoint(
        weights=load_file(folder / WEIGHTS),
        best=load_file(folder / BEST),
        optimizer=load_file(folder / OPTIMIZER),
        progress=Progress(**json.loads((folder / PROGRESS).read_text())),
    )


def copy_of_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """A model's tensors, detached, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def flat_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimizer's state under flat names."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": tensor.detach().cpu().clone()
        for index, moments in state.items()
        for name, tensor in moments.items()
    }


def restore_optimizer_state(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Put flat state back into an optimizer over the same parameters."""
    content = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        index, name = key.split(".", maxsplit=1)
        state.setdefault(int(index), {})[name] = tensor
    content["state"] = state
    optimizer.load_state_dict(content)
