"""Class weights, hidden genes and the learning-rate schedule."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from sctransformer.training.objectives import class_weights, sample_shown_genes, warmup_cosine


def test_class_weights_have_mean_one_over_cells() -> None:
    labels_N = np.array([0, 0, 0, 0, 1, 2])
    weight_C = class_weights(labels_N, 4, power=0.5).numpy()
    assert weight_C[labels_N].mean() == pytest.approx(1.0)
    assert weight_C[1] == pytest.approx(2 * weight_C[0])
    assert weight_C[3] == 0.0


def test_hidden_genes_depend_on_the_generator_only() -> None:
    one = sample_shown_genes(torch.Generator().manual_seed(1), 200, 50, 0.25)
    other = sample_shown_genes(torch.Generator().manual_seed(1), 200, 50, 0.25)
    assert torch.equal(one, other)
    assert float(one.mean()) == pytest.approx(0.75, abs=0.02)


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    rates = [warmup_cosine(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] < 0.01
