"""Self-supervised pretraining: predict the expression of hidden genes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sctransformer.data.arrays import CellArrays, CellSource
from sctransformer.model import ActivityTransformer, Model
from sctransformer.model.activity import ActivityDecoder, MaskedActivityModel
from sctransformer.model.decoder import ExpressionDecoder, MaskedExpressionModel
from sctransformer.training.batches import Batch, Corruption, step_generator, steps_per_pass
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.objectives import sample_shown_genes, squared_errors
from sctransformer.training.phase import Phase

MAX_VALIDATION_CELLS = 4096
"""Maximum number of validation cells, evenly spaced: enough for the mean error."""


def masked_model(model: Model, decoder: ExpressionDecoder | ActivityDecoder) -> nn.Module:
    """Model and decoder as one module."""
    if isinstance(model, ActivityTransformer):
        assert isinstance(decoder, ActivityDecoder)
        return MaskedActivityModel(model, decoder)
    assert isinstance(decoder, ExpressionDecoder)
    return MaskedExpressionModel(model, decoder)


class Pretraining(Phase):
    """Masked expression: hidden genes are predicted from the shown ones. Labels are not used."""

    name = "pretraining"
    key = (0, 1)

    def __init__(
        self,
        model: Model,
        decoder: ExpressionDecoder | ActivityDecoder,
        parts: Sequence[CellSource],
        validation: CellSource | None,
        config: TrainConfig,
    ) -> None:
        self.module = masked_model(model, decoder)
        self._held = model if isinstance(model, ActivityTransformer) else None
        self.parts, self.validation = parts, validation
        self.first_epoch, self.epochs = 0, config.pretrain_epochs
        steps = steps_per_pass(self.n_cells, config.pretrain_batch_size) * config.pretrain_epochs
        self.passes = max(1, -(-config.pretrain_min_steps // max(1, steps)))
        self.batch_size, self.weight_decay = config.pretrain_batch_size, config.pretrain_weight_decay
        self.corruption = Corruption(config.hidden_share)
        self._config = config
        self._tokens = model.tokens
        self._untrained = {id(parameter) for parameter in model.classifier.parameters()}
        # sampled once, so that epochs are compared on the same hidden genes
        n_validation = 0 if validation is None else len(validation)
        count = min(n_validation, MAX_VALIDATION_CELLS)
        self._validation_rows = np.arange(count) * n_validation // max(1, count)
        generator = step_generator(config.seed, 0, 3)
        self._shown_NG = sample_shown_genes(generator, count, model.config.n_genes, config.hidden_share).bool()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All parameters but the classifier's."""
        trained = [parameter for parameter in self.module.parameters() if id(parameter) not in self._untrained]
        return [{"params": trained, "lr": self._config.pretrain_lr}]

    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Mean squared error over the hidden genes of the batch, and the part of this process in the penalty."""
        n_predicted = float((batch.hidden_G * self._tokens.varies_G.cpu()).sum())  # of the whole batch
        hidden_NG = (batch.shown_NG == 0) & (batch.weight_N > 0)[:, None]
        predicted_NG, z_NG, scored_NG = self._predict(module, batch.cells, hidden_NG, device)
        loss = squared_errors(predicted_NG, z_NG, scored_NG) / max(1.0, n_predicted)
        if self._held is None or self._config.prior_strength == 0.0:
            return loss
        share = float(batch.weight_N.sum()) / batch.size
        return loss + share * self._config.prior_strength * self._held.departure_J().square().mean()

    @torch.no_grad()
    def validate(self, group: ProcessGroup, device: torch.device) -> dict[str, float]:
        """Mean squared error over hidden genes, and the fraction of their variance that is explained (R2)."""
        assert self.validation is not None
        rows, shown_NG = self._validation_rows, self._shown_NG
        varies_G = self._tokens.varies_G.cpu()
        sums = torch.zeros(3, dtype=torch.float64)
        per_process = -(-len(rows) // group.size)  # the same on all processes: each forward pass is collective
        own = np.arange(group.rank * per_process, (group.rank + 1) * per_process)
        for start in range(0, per_process, self.batch_size):
            positions = own[start : start + self.batch_size]
            is_padding = torch.as_tensor(positions >= len(rows))
            positions = positions % len(rows)
            hidden_NG = ~shown_NG[positions] & ~is_padding[:, None]
            cells = self.validation.take(rows[positions])
            predicted_NG, z_NG, scored_NG = self._predict(self.module, cells, hidden_NG, device)
            of_mean_NG = torch.zeros_like(z_NG)  # of each gene
            errors = [squared_errors(guess_NG, z_NG, scored_NG) for guess_NG in (predicted_NG, of_mean_NG)]
            sums += torch.stack([*(error.double().cpu() for error in errors), (hidden_NG & varies_G).sum().double()])
        error, variance, n_predicted = group.sum(sums.to(device)).tolist()
        return {"val_loss": error / max(1.0, n_predicted), "val_r2": 1.0 - error / max(variance, 1e-12)}

    def _predict(
        self, module: nn.Module, cells: CellArrays, hidden_NG: Tensor, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Predicted and true standardised expression, and which of it is predicted: hidden genes that vary."""
        counts_NG = torch.as_tensor(cells.counts_NG, device=device)
        library_size_N = torch.as_tensor(cells.library_size_N, device=device)
        hidden_NG = hidden_NG.to(device)
        z_NG = self._tokens.standardised(counts_NG, library_size_N)
        predicted_NG = module(counts_NG, library_size_N, hidden_NG).float()
        return predicted_NG, z_NG, hidden_NG & self._tokens.varies_G
