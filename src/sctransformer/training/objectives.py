"""What training minimises, and the pure functions around it: class weights, errors, hidden genes, learning rate."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy


def class_weights(labels_N: NDArray[np.int64], n_classes: int, power: float) -> Tensor:
    """Weight of each class, frequency**-power, scaled so that the mean weight of the given cells is 1.

    A class without cells gets the weight 0.
    """
    frequency_C = np.bincount(labels_N, minlength=n_classes) / max(1, len(labels_N))
    weight_C = np.zeros(n_classes)
    weight_C[frequency_C > 0] = frequency_C[frequency_C > 0] ** -power
    return torch.as_tensor(weight_C / weight_C[labels_N].mean(), dtype=torch.float32)


def weighted_cross_entropy(
    logits_NC: Tensor, labels_N: Tensor, cell_weight_N: Tensor, weight_C: Tensor, smoothing: float, batch_size: int
) -> Tensor:
    """Cross-entropy summed over cells, class-weighted, and divided by `batch_size`.

    Dividing by the size of the whole batch, not by the sum of the weights here, makes the sum over workers equal to
    what one worker computes for the whole batch.

    Args:
        logits_NC: class scores.
        labels_N: class indices.
        cell_weight_N: 1 for a cell, 0 for padding.
        weight_C: class weights.
        smoothing: label smoothing.
        batch_size: cells of the whole batch, over all workers.
    """
    loss_N = cross_entropy(logits_NC, labels_N, reduction="none", label_smoothing=smoothing)
    return (loss_N * weight_C[labels_N] * cell_weight_N).sum() / batch_size


def squared_errors(predicted_NG: Tensor, z_NG: Tensor, counted_NG: Tensor) -> Tensor:
    """Sum of squared errors over the genes that count, a scalar."""
    return torch.where(counted_NG, predicted_NG - z_NG, 0.0).square().sum()


def kept_genes(generator: torch.Generator, n_cells: int, n_genes: int, dropout: float) -> Tensor:
    """1 for a gene whose count is shown, 0 for one that is hidden, cells x genes."""
    if dropout == 0.0:
        return torch.ones(n_cells, n_genes)
    return (torch.rand(n_cells, n_genes, generator=generator) >= dropout).to(torch.float32)


def learning_rate(step: int, total_steps: int, highest: float, warmup_fraction: float) -> float:
    """Learning rate of a step (0-based): a linear rise, then a cosine to zero."""
    warmup_steps = max(1, round(warmup_fraction * total_steps))
    if step < warmup_steps:
        return highest * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return highest * 0.5 * (1.0 + math.cos(math.pi * progress))
