"""Checkpoints: weights, best weights, decoder, optimizer and progress, as safetensors and JSON. No pickle."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.config import TrainConfig
from sctransformer.training.parallel import part_of, whole

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
DECODER = "decoder.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
TENSORS = (WEIGHTS, BEST, DECODER, OPTIMIZER)


@dataclass(frozen=True)
class Progress:
    """How far training has come. The position in the schedule and all that is random follow from it and the seed, so
    no more of them is kept.
    """

    epochs_done: int = 0
    """Of both phases."""
    best_epoch: int = -1
    """Of the current phase, counted over both; -1 before its first epoch."""
    best_macro_f1: float = -1.0
    """-1 in pretraining, which is judged by its loss alone."""
    best_loss: float = float("inf")
    steps_done: int = 0
    """Of the epoch after the last whole one: the position in the stream of cells."""
    loss_sum: float = 0.0
    """Over the cells of those steps."""
    norm_sum: float = 0.0
    """Of the gradients of those steps."""

    def improved_by(self, macro_f1: float, loss: float) -> bool:
        """Whether an epoch is better: higher validation macro-F1, or the same with a lower validation loss."""
        return (macro_f1, -loss) > (self.best_macro_f1, -self.best_loss)

    @property
    def position(self) -> tuple[int, int]:
        """By which the later of two is told."""
        return self.epochs_done, self.steps_done


@dataclass
class Checkpoint:
    """All that a run needs to go on as if it had never stopped."""

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    """Weights of the best epoch of the current phase."""
    optimizer: dict[str, Tensor]
    """Flat: `<parameter index>.<name of the moment>`."""
    progress: Progress
    decoder: dict[str, Tensor] = field(default_factory=dict)
    """Of masked expression; empty in a run without pretraining."""
    made_with: dict[str, Any] = field(default_factory=dict)
    """`model` and `train`: the configurations it belongs to."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Fields of the `EpochReport` of each epoch that is done."""


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint into a folder, which must exist. What makes it one, the progress, is written last."""
    save_file(checkpoint.weights, folder / WEIGHTS)
    save_file(checkpoint.best, folder / BEST)
    save_file(checkpoint.decoder, folder / DECODER)
    save_file(checkpoint.optimizer, folder / OPTIMIZER)
    content = {
        "progress": dataclasses.asdict(checkpoint.progress),
        "made_with": checkpoint.made_with,
        "history": checkpoint.history,
        "sha256": {name: _sha256(folder / name) for name in TENSORS},
    }
    (folder / PROGRESS).write_text(json.dumps(content))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        UserError: a file of it is absent, cut or changed.
    """
    try:
        content = json.loads((folder / PROGRESS).read_text())
        changed = [name for name in TENSORS if _sha256(folder / name) != content["sha256"][name]]
        if changed:
            raise UserError(f"{folder / changed[0]}: is not as it was written; take an earlier checkpoint.")
        return Checkpoint(
            weights=load_file(folder / WEIGHTS),
            best=load_file(folder / BEST),
            optimizer=load_file(folder / OPTIMIZER),
            progress=Progress(**content["progress"]),
            decoder=load_file(folder / DECODER),
            made_with=content["made_with"],
            history=content["history"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: is no whole checkpoint ({error}); take an earlier one.") from error


def made_with(model: PriorBiasedTransformer, config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint of this run is marked with."""
    return {"model": model.config.to_dict(), "train": config.model_dump()}


def require_same_run(checkpoint: Checkpoint, model: PriorBiasedTransformer, config: TrainConfig) -> None:
    """Refuse a checkpoint with which this run cannot end as if it had never stopped.

    At the end of pretraining, and before it, only what pretraining depends on must be the same: several fine-tunings
    may go on from one pretrained checkpoint.

    Args:
        checkpoint: to go on from.
        model: with fresh weights, over the genes and the prior of this run.
        config: of this run.

    Raises:
        UserError: naming what differs.
    """
    own, its = made_with(model, config), checkpoint.made_with
    if checkpoint.progress.position <= (config.pretrain_epochs, 0):
        own["train"] = config.of_pretraining()
    for section, values in own.items():
        for name, value in values.items():
            theirs = its.get(section, {}).get(name)
            if theirs != value:
                raise UserError(
                    f"the checkpoint was made with {section}.{name} {theirs!r} and this run has {value!r}: train anew, "
                    "or go on with the parameters it was made with."
                )
    fresh = model.state_dict()
    constant = {name for name, _ in model.named_buffers()}
    for name in sorted(fresh.keys() | checkpoint.weights.keys()):
        here, there = fresh.get(name), checkpoint.weights.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise UserError(
                f"the checkpoint's tensor {name} has the shape {_shape(there)} and this model's {_shape(here)}: it "
                "belongs to other genes or labels, another prior or another version of the model; train anew."
            )
        if name in constant and not torch.equal(here.cpu(), there):
            raise UserError(
                f"the checkpoint's {name} is not that of this model: it belongs to other genes, other cells or another "
                "prior; train anew."
            )


def flat_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimizer's state, whole, under flat names."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": whole(tensor.detach()).cpu().clone()
        for index, moments in state.items()
        for name, tensor in moments.items()
    }


def restore_optimizer_state(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    """Put flat state back into an optimizer over the same parameters."""
    content = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        index, name = key.split(".", maxsplit=1)
        own = parameters[int(index)]
        state.setdefault(int(index), {})[name] = part_of(tensor, own) if tensor.shape == own.shape else tensor
    content["state"] = state
    optimizer.load_state_dict(content)


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else str(tuple(tensor.shape))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
