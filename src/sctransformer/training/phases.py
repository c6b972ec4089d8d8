"""The two phases of training, with one face for the loop: masked expression, then classification."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sctransformer.data.arrays import CellArrays, CellSource
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.decoder import ExpressionDecoder, MaskedExpressionModel
from sctransformer.model.tokens import dropped_out
from sctransformer.training.batches import Batch, step_generator, steps_a_pass
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import World
from sctransformer.training.objectives import class_weights, kept_genes, squared_errors, weighted_cross_entropy
from sctransformer.training.scores import accuracy_and_macro_f1, f1_by_class

MOST_JUDGED = 4096
"""Validation cells by which pretraining is judged, evenly spread where there are more: a mean needs no more."""
PhaseName = Literal["pretraining", "supervised"]


class Phase(ABC):
    """What the loop must know of a phase."""

    name: PhaseName
    first_epoch: int
    """Counted over both phases."""
    epochs: int
    passes: int = 1
    """How often an epoch goes over all cells."""
    batch_size: int
    lr: float
    weight_decay: float
    hidden_share: float
    thinning: float = 0.0
    patience: int = 0
    key: tuple[int, ...] = ()
    """Tells the random numbers of this phase from those of the other."""
    module: nn.Module
    """What is wrapped for several processes and called in `loss`."""
    parts: Sequence[CellSource]
    """The cells to train on."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, with `factor`, by which the learning rate is multiplied."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """The part of a batch's objective that is this process's; the parts of all processes add up to it."""

    @abstractmethod
    def validate(self, world: World, device: torch.device) -> dict[str, Any]:
        """Figures on validation cells, the same on all processes: `val_loss`, and those of the phase."""


class Pretraining(Phase):
    """Masked expression: hidden genes are predicted from those that are shown. No label is used."""

    name: PhaseName = "pretraining"
    key = (0, 1)

    def __init__(
        self,
        model: PriorBiasedTransformer,
        decoder: ExpressionDecoder,
        parts: Sequence[CellSource],
        validation: CellSource,
        config: TrainConfig,
    ) -> None:
        self.first_epoch, self.epochs = 0, config.pretrain_epochs
        self.batch_size, self.lr = config.pretrain_batch_size, config.pretrain_lr
        self.weight_decay, self.hidden_share = config.pretrain_weight_decay, config.hidden_share
        self.parts = parts
        self.module = MaskedExpressionModel(model, decoder)
        self._tokens = model.tokens
        self._untrained = {id(parameter) for parameter in model.classifier.parameters()}
        self._validation = validation
        judged = min(len(validation), MOST_JUDGED)
        self._judged_N = np.arange(judged) * len(validation) // max(1, judged)
        # drawn once, so that epochs are compared on the same hidden genes
        generator = step_generator(config.seed, 0, 3)
        self._shown_NG = kept_genes(generator, judged, validation.n_genes, config.hidden_share).bool()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Everything but the classifier."""
        trained = [parameter for parameter in self.module.parameters() if id(parameter) not in self._untrained]
        return [{"params": trained, "factor": 1.0}]

    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Mean squared error over the hidden genes of the batch."""
        predicted = float((batch.hidden_G * self._tokens.varies_G.cpu()).sum())  # of the whole batch
        hidden_NG = (batch.shown_NG == 0) & (batch.weight_N > 0)[:, None]
        error, _ = self._errors(module, batch.cells, hidden_NG, device)
        return error / max(1.0, predicted)

    @torch.no_grad()
    def validate(self, world: World, device: torch.device) -> dict[str, float]:
        """Mean squared error over hidden genes, and the share of their variance about the mean that is explained."""
        sums = torch.zeros(3, dtype=torch.float64)
        cells, varies_G = self._validation, self._tokens.varies_G.cpu()
        share = -(-len(self._judged_N) // world.size)
        mine = np.arange(world.rank * share, (world.rank + 1) * share)  # of equal length, for forward passes meet
        for start in range(0, share, self.batch_size):
            beyond = mine[start : start + self.batch_size] >= len(self._judged_N)
            rows = mine[start : start + self.batch_size] % len(self._judged_N)
            part = cells.take(self._judged_N[rows])
            hidden_NG = ~self._shown_NG[rows] & ~torch.as_tensor(beyond)[:, None]
            errors = self._errors(self.module, part, hidden_NG, device)
            sums += torch.stack([*(error.double().cpu() for error in errors), (hidden_NG & varies_G).sum().double()])
        error, variance, predicted = world.total(sums.to(device)).tolist()
        return {"val_loss": error / max(1.0, predicted), "val_r2": 1.0 - error / max(variance, 1e-12)}

    def _errors(
        self, module: nn.Module, cells: CellArrays, hidden_NG: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Sums of squared errors over hidden genes: of the prediction, and of each gene's mean."""
        counts_NG = torch.as_tensor(cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(cells.library_size_N, device=device)
        hidden_NG = hidden_NG.to(device)
        z_NG = self._tokens.standardised(counts_NG, library_size_N)
        predicted_NG = module(counts_NG, library_size_N, hidden_NG).float()
        counted_NG = hidden_NG & self._tokens.varies_G
        return squared_errors(predicted_NG, z_NG, counted_NG), squared_errors(torch.zeros_like(z_NG), z_NG, counted_NG)


class Supervised(Phase):
    """Classification of the labelled cells: cross-entropy, class-weighted, smoothed."""

    name: PhaseName = "supervised"

    def __init__(
        self, model: PriorBiasedTransformer, training: CellSource, validation: CellSource, config: TrainConfig
    ) -> None:
        steps = steps_a_pass(len(training), config.batch_size)
        self.first_epoch, self.epochs = config.pretrain_epochs, config.epochs
        self.passes = max(1, -(-config.min_steps // (steps * config.epochs)))
        self.batch_size, self.lr, self.weight_decay = config.batch_size, config.lr, config.weight_decay
        self.hidden_share, self.thinning, self.patience = config.gene_dropout, config.thinning, config.patience
        self.parts = [training]
        self.module = self._model = model
        self._validation, self._config = validation, config
        self._weight_C = class_weights(training.labels_N, model.config.n_classes, config.class_weight_power)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The classifier, the regulation layers, and all other weights."""
        config, head, layers = self._config, self._model.classifier, self._model.layers
        apart = {id(parameter) for part in (head, layers) for parameter in part.parameters()}
        rest = [parameter for parameter in self._model.parameters() if id(parameter) not in apart]
        return [
            {"params": list(head.parameters()), "factor": config.head_lr / self.lr},
            {"params": list(layers.parameters()), "factor": (config.layer_lr or self.lr) / self.lr},
            {"params": rest, "factor": 1.0},
        ]

    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Mean cross-entropy of the batch, class-weighted and smoothed, and this process's part of the penalty."""
        fit = weighted_cross_entropy(
            self._logits(module, batch, device),
            torch.as_tensor(batch.cells.labels_N, device=device),
            batch.weight_N.to(device),
            self._weight_C.to(device),
            self._config.label_smoothing,
            batch.size,
        )
        share = float(batch.weight_N.sum()) / batch.size
        weight_CE = self._model.classifier.weight
        return fit + share * self._config.head_penalty / (2 * len(self.parts[0])) * weight_CE.square().sum()

    @torch.no_grad()
    def validate(self, world: World, device: torch.device) -> dict[str, Any]:
        """Mean cross-entropy, accuracy, macro-F1 and F1 of each class, each process scoring its share."""
        cells = self._validation
        share = -(-len(cells) // world.size)
        mine = np.arange(world.rank * share, (world.rank + 1) * share) % len(cells)  # the last wraps to equal length
        logits_NC = world.gathered(self._validation_logits(mine, device).float())[: len(cells)].cpu()
        said = cells.labels_N, logits_NC.argmax(dim=1).numpy(), self._model.config.n_classes
        accuracy, macro_f1 = accuracy_and_macro_f1(*said)
        f1_C = [None if np.isnan(f1) else float(f1) for f1 in f1_by_class(*said)]
        loss = float(cross_entropy(logits_NC, torch.as_tensor(cells.labels_N)))
        return {"val_loss": loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1, "val_f1_C": f1_C}

    def _logits(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        counts_NG = torch.as_tensor(batch.cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(batch.cells.library_size_N, device=device)
        hidden = None
        if self.hidden_share > 0.0:
            hidden = dropped_out((batch.shown_NG == 0).to(device), self.hidden_share)
        output = module(counts_NG, library_size_N, hidden)
        logits_NC: Tensor = output.logits_NC.float()
        return logits_NC

    def _validation_logits(self, rows_N: NDArray[np.int64], device: torch.device) -> Tensor:
        return self._model.classifier(_embedded(self._model, self._validation, rows_N, self.batch_size, device))


class Probing(Supervised):
    """Classification with all weights but the classifier's as they are: cells are embedded once, when the phase begins.

    An epoch then costs next to nothing, which is what few labelled cells ask for: many steps, few weights.
    """

    def __init__(
        self, model: PriorBiasedTransformer, training: CellSource, validation: CellSource, config: TrainConfig
    ) -> None:
        super().__init__(model, training, validation, config)
        self.module = model.classifier
        self._embedding_NE: Tensor | None = None
        self._validation_embedding_NE: Tensor | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The classifier."""
        return [{"params": list(self._model.classifier.parameters()), "factor": self._config.head_lr / self.lr}]

    def _logits(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        if self._embedding_NE is None:
            self._embedding_NE = self._all_embedded(self.parts[0], device)
        logits_NC: Tensor = module(self._embedding_NE[batch.rows_N]).float()
        return logits_NC

    def _validation_logits(self, rows_N: NDArray[np.int64], device: torch.device) -> Tensor:
        if self._validation_embedding_NE is None:
            self._validation_embedding_NE = self._all_embedded(self._validation, device)
        return self._model.classifier(self._validation_embedding_NE[rows_N])

    def _all_embedded(self, cells: CellSource, device: torch.device) -> Tensor:
        return _embedded(self._model, cells, np.arange(len(cells)), self.batch_size, device)


@torch.no_grad()
def _embedded(
    model: PriorBiasedTransformer, cells: CellSource, rows_N: NDArray[np.int64], batch_size: int, device: torch.device
) -> Tensor:
    """Embeddings of some of the cells, cells x embedding."""
    parts = []
    for start in range(0, len(rows_N), batch_size):
        part = cells.take(rows_N[start : start + batch_size])
        counts_NG = torch.as_tensor(part.counts_NG, device=device)
        parts.append(model(counts_NG, torch.as_tensor(part.library_size_N, device=device)).embedding_NE)
    return torch.cat(parts)
