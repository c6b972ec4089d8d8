"""Supervised training: classification of the labelled cells, of the whole model or of the classifier alone."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sctransformer.data.arrays import CellSource
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.tokens import dropped_out
from sctransformer.training.batches import Batch, Corruption, steps_per_pass
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.objectives import class_weights, weighted_cross_entropy
from sctransformer.training.phase import Phase
from sctransformer.training.scores import accuracy_and_macro_f1, f1_by_class


class Classification(Phase):
    """Class-weighted cross-entropy with label smoothing and a penalty on the classifier's weights."""

    name = "supervised"

    def __init__(
        self, model: PriorBiasedTransformer, training: CellSource, validation: CellSource | None, config: TrainConfig
    ) -> None:
        self.module = self._model = model
        self.parts, self.validation = [training], validation
        self.first_epoch, self.epochs = config.pretrain_epochs, config.epochs
        steps = steps_per_pass(len(training), config.batch_size) * config.epochs
        self.passes = max(1, -(-config.min_steps // steps))
        self.batch_size, self.weight_decay, self.patience = config.batch_size, config.weight_decay, config.patience
        self.corruption = Corruption(config.gene_dropout, config.thinning)
        self._config = config
        self._weight_C = class_weights(training.labels_N, model.config.n_classes, config.class_weight_power)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The classifier, the regulation layers, and all other parameters."""
        config, head, layers = self._config, self._model.classifier, self._model.layers
        separate = {id(parameter) for part in (head, layers) for parameter in part.parameters()}
        rest = [parameter for parameter in self._model.parameters() if id(parameter) not in separate]
        return [
            {"params": list(head.parameters()), "lr": config.head_lr},
            {"params": list(layers.parameters()), "lr": config.layer_lr or config.lr},
            {"params": rest, "lr": config.lr},
        ]

    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Mean cross-entropy of the batch, and the part of this process in the penalty."""
        cross_entropy_part = weighted_cross_entropy(
            self._logits(module, batch, device),
            torch.as_tensor(batch.cells.labels_N, device=device),
            batch.weight_N.to(device),
            self._weight_C.to(device),
            self._config.label_smoothing,
            batch.size,
        )
        share = float(batch.weight_N.sum()) / batch.size
        weight_CE = self._model.classifier.weight
        penalty = self._config.head_penalty / (2 * self.n_cells) * weight_CE.square().sum()
        return cross_entropy_part + share * penalty

    @torch.no_grad()
    def validate(self, group: ProcessGroup, device: torch.device) -> dict[str, Any]:
        """Mean cross-entropy, accuracy, macro-F1 and F1 per class; each process scores a part of the cells."""
        assert self.validation is not None
        n_cells, labels_N = len(self.validation), self.validation.labels_N
        per_process = -(-n_cells // group.size)  # the last process wraps around to the same number of cells
        rows = np.arange(group.rank * per_process, (group.rank + 1) * per_process) % n_cells
        logits_NC = group.gather(self._validation_logits(rows, device).float())[:n_cells].cpu()
        predicted_N, n_classes = logits_NC.argmax(dim=1).numpy(), self._model.config.n_classes
        accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, predicted_N, n_classes)
        f1_C = [None if np.isnan(f1) else float(f1) for f1 in f1_by_class(labels_N, predicted_N, n_classes)]
        loss = float(cross_entropy(logits_NC, torch.as_tensor(labels_N)))
        return {"val_loss": loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1, "val_f1_C": f1_C}

    def _logits(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        counts_NG = torch.as_tensor(batch.cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(batch.cells.library_size_N, device=device)
        hidden, hidden_share = None, self.corruption.hidden_share
        if hidden_share > 0.0:
            hidden = dropped_out((batch.shown_NG == 0).to(device), hidden_share)
        logits_NC: Tensor = module(counts_NG, library_size_N, hidden).logits_NC.float()
        return logits_NC

    def _validation_logits(self, rows_N: NDArray[np.int64], device: torch.device) -> Tensor:
        assert self.validation is not None
        return self._model.classifier(embed_cells(self._model, self.validation, rows_N, self.batch_size, device))


class LinearProbe(Classification):
    """Classification with a frozen embedding: only the classifier is trained.

    Cells are embedded once, when the phase starts, so that many steps cost little; with few labelled cells that helps.
    """

    def __init__(
        self, model: PriorBiasedTransformer, training: CellSource, validation: CellSource | None, config: TrainConfig
    ) -> None:
        super().__init__(model, training, validation, config)
        self.module = model.classifier
        self._embedding_NE: Tensor | None = None
        self._validation_embedding_NE: Tensor | None = None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The classifier."""
        return [{"params": list(self._model.classifier.parameters()), "lr": self._config.head_lr}]

    def _logits(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        if self._embedding_NE is None:
            self._embedding_NE = self._embed_all(self.parts[0], device)
        logits_NC: Tensor = module(self._embedding_NE[batch.rows_N]).float()
        return logits_NC

    def _validation_logits(self, rows_N: NDArray[np.int64], device: torch.device) -> Tensor:
        assert self.validation is not None
        if self._validation_embedding_NE is None:
            self._validation_embedding_NE = self._embed_all(self.validation, device)
        return self._model.classifier(self._validation_embedding_NE[rows_N])

    def _embed_all(self, cells: CellSource, device: torch.device) -> Tensor:
        return embed_cells(self._model, cells, np.arange(len(cells)), self.batch_size, device)


@torch.no_grad()
def embed_cells(
    model: PriorBiasedTransformer, cells: CellSource, rows_N: NDArray[np.int64], batch_size: int, device: torch.device
) -> Tensor:
    """Embeddings of some of the cells, cells x embedding."""
    parts = []
    for start in range(0, len(rows_N), batch_size):
        batch = cells.take(rows_N[start : start + batch_size])
        counts_NG = torch.as_tensor(batch.counts_NG, device=device)
        parts.append(model(counts_NG, torch.as_tensor(batch.library_size_N, device=device)).embedding_NE)
    return torch.cat(parts)
