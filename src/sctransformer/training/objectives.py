"""Pure functions of training: class weights, losses, hidden genes, learning-rate schedule."""

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
    """Class-weighted cross-entropy, summed over cells and divided by `batch_size`.

    The divisor is the size of the whole batch, not the sum of the weights here: the losses of all processes then add up
    to the loss that one process computes for the whole batch.

    Args:
        logits_NC: class scores.
        labels_N: class indices.
        cell_weight_N: 1 for a cell, 0 for padding.
        weight_C: class weights.
        smoothing: label smoothing.
        batch_size: cells of the whole batch, over all processes.
    """
    loss_N = cross_entropy(logits_NC, labels_N, reduction="none", label_smoothing=smoothing)
    return (loss_N * weight_C[labels_N] * cell_weight_N).sum() / batch_size


def squared_errors(predicted_NG: Tensor, z_NG: Tensor, selected_NG: Tensor) -> Tensor:
    """Sum of squared errors over the selected entries, a scalar."""
    return torch.where(selected_NG, predicted_NG - z_NG, 0.0).square().sum()


def sample_shown_genes(generator: torch.Generator, n_cells: int, n_genes: int, hidden_share: float) -> Tensor:
    """Sample which genes are shown: 1 for a shown gene, 0 for a hidden one, cells x genes."""
    if hidden_share == 0.0:
        return torch.ones(n_cells, n_genes)
    return (torch.rand(n_cells, n_genes, generator=generator) >= hidden_share).to(torch.float32)


def warmup_cosine(step: int, total_steps: int, warmup_fraction: float) -> float:
    """Factor of the learning rate at a step (0-based): linear warmup to 1, then cosine decay to 0."""
    warmup_steps = max(1, round(warmup_fraction * total_steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))
