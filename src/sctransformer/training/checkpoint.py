"""Checkpoints as safetensors and JSON, without pickle: weights, best weights, decoder, optimizer, progress."""

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
from sctransformer.model import Model
from sctransformer.training.config import TrainConfig

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
DECODER = "decoder.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
TENSORS = (WEIGHTS, BEST, DECODER, OPTIMIZER)


@dataclass(frozen=True)
class TrainingProgress:
    """How far training has come. The position in the schedule and all random numbers follow from it and the seed."""

    epochs_done: int = 0
    """Over both phases."""
    best_epoch: int = -1
    """Best epoch of the current phase, counted over both phases; -1 before its first epoch."""
    best_macro_f1: float = -1.0
    """Validation macro-F1 of the best epoch; -1 in pretraining, which is compared by its loss."""
    best_loss: float = float("inf")
    """Validation loss of the best epoch."""
    steps_done: int = 0
    """Steps of the current epoch."""
    loss_sum: float = 0.0
    """Loss summed over the cells of those steps."""
    norm_sum: float = 0.0
    """Gradient norm summed over those steps."""

    def is_improved_by(self, macro_f1: float, loss: float) -> bool:
        """Whether an epoch is better: higher validation macro-F1, or the same with a lower validation loss."""
        return (macro_f1, -loss) > (self.best_macro_f1, -self.best_loss)

    @property
    def position(self) -> tuple[int, int]:
        """Epochs and steps done; orders the checkpoints of a run."""
        return self.epochs_done, self.steps_done


@dataclass
class Checkpoint:
    """Everything that a run needs to resume with the same result as without interruption.

    With several processes rank 0 holds the tensors; they are empty on the others.
    """

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    """Weights of the best epoch of the current phase."""
    optimizer: dict[str, Tensor]
    """Tensors of the optimizer, see `sctransformer.training.state_dicts.full_optimizer_state`."""
    progress: TrainingProgress
    decoder: dict[str, Tensor] = field(default_factory=dict)
    """Weights of the expression decoder; empty without pretraining."""
    run_config: dict[str, Any] = field(default_factory=dict)
    """`model` and `train`: the configurations of the run."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Fields of the `EpochReport` of each finished epoch."""


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint into an existing folder. Without the progress file, written last, it is not valid."""
    save_file(checkpoint.weights, folder / WEIGHTS)
    save_file(checkpoint.best, folder / BEST)
    save_file(checkpoint.decoder, folder / DECODER)
    save_file(checkpoint.optimizer, folder / OPTIMIZER)
    content = {
        "progress": dataclasses.asdict(checkpoint.progress),
        "made_with": checkpoint.run_config,
        "history": checkpoint.history,
        "sha256": {name: _sha256(folder / name) for name in TENSORS},
    }
    (folder / PROGRESS).write_text(json.dumps(content))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UserError: a file is missing, truncated or changed.
    """
    try:
        content = json.loads((folder / PROGRESS).read_text())
        changed = [name for name in TENSORS if _sha256(folder / name) != content["sha256"][name]]
        if changed:
            raise UserError(f"{folder / changed[0]}: the checksum does not match; use an earlier checkpoint.")
        return Checkpoint(
            weights=load_file(folder / WEIGHTS),
            best=load_file(folder / BEST),
            optimizer=load_file(folder / OPTIMIZER),
            progress=TrainingProgress(**content["progress"]),
            decoder=load_file(folder / DECODER),
            run_config=content["made_with"],
            history=content["history"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not a complete checkpoint ({error}); use an earlier one.") from error


def run_config(model: Model, config: TrainConfig) -> dict[str, Any]:
    """The configurations that a checkpoint of a run records."""
    return {"model": model.config.to_dict(), "train": config.model_dump()}


def require_same_run(checkpoint: Checkpoint, model: Model, config: TrainConfig) -> None:
    """Refuse a checkpoint of another run, which could not be resumed with the same result.

    Up to the end of pretraining only the parameters that pretraining uses are compared: one pretrained checkpoint
    can be fine-tuned in several ways.

    Args:
        checkpoint: the checkpoint to resume from.
        model: with fresh weights, over the genes and the prior of this run.
        config: of this run.

    Raises:
        UserError: naming the first difference.
    """
    own = run_config(model, config)
    if checkpoint.progress.position <= (config.pretrain_epochs, 0):
        own["train"] = config.of_pretraining()
    for section, values in own.items():
        for name, value in values.items():
            found = checkpoint.run_config.get(section, {}).get(name)
            if found != value:
                raise UserError(
                    f"the checkpoint has {section}.{name} {found!r} and this run {value!r}: resume with the parameters "
                    "of the checkpoint, or start a new run."
                )
    _require_same_tensors(checkpoint, model)


def _require_same_tensors(checkpoint: Checkpoint, model: Model) -> None:
    fresh = model.state_dict()
    constant = {name for name, _ in model.named_buffers()}
    for name in sorted(fresh.keys() | checkpoint.weights.keys()):
        own, found = fresh.get(name), checkpoint.weights.get(name)
        if own is None or found is None or own.shape != found.shape:
            raise UserError(
                f"the checkpoint's tensor {name} has shape {_shape(found)} and this model's {_shape(own)}: it belongs "
                "to other genes or labels, another prior or another version of the model; start a new run."
            )
        if name in constant and not torch.equal(own.cpu(), found):
            raise UserError(
                f"the checkpoint's {name} differs from this model's: it belongs to other genes, other cells or another "
                "prior; start a new run."
            )


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else str(tuple(tensor.shape))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
