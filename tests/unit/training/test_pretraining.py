"""Pretraining on masked expression: it learns, uses no labels and no hidden counts, and initializes classification."""

import numpy as np
import pytest
import torch

from sctransformer.data.arrays import NO_LABEL, CellArrays, take
from sctransformer.model.decoder import ExpressionDecoder, MaskedExpressionModel
from sctransformer.model.tokens import HiddenGenes
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.pretraining import Pretraining
from tests.conftest import arrays, opened, simulated_cells, small_model
from tests.unit.training.training_runs import PRETRAINED, assert_same_weights, trained, with_other_labels

RANDOM_START = PRETRAINED.replace(start="random", pretrain_epochs=12, epochs=1, pretrain_lr=1e-2)


def masked_model() -> MaskedExpressionModel:
    """Model and decoder with all weights non-zero."""
    model = small_model()
    return opened(MaskedExpressionModel(model, ExpressionDecoder(model.config)))


def test_hidden_expression_is_learned_from_random_weights() -> None:
    """Markers of a type are correlated, so hidden genes can be predicted better than by their mean."""
    reports = [report for report in trained(RANDOM_START).reports if report.phase == "pretraining"]
    assert reports[-1].val_r2 > 0.1
    assert reports[-1].val_r2 > reports[0].val_r2 + 0.05
    assert reports[-1].val_loss < reports[0].val_loss
    assert reports[-1].train_loss < reports[0].train_loss
    assert reports[-1].val_macro_f1 is None


def test_independent_genes_cannot_be_predicted() -> None:
    """The explained variance is not an artefact."""
    cells = arrays(simulated_cells(200))
    rng = np.random.default_rng(0)
    apart_NG = np.stack([rng.permutation(column_N) for column_N in cells.counts_NG.T], axis=1)
    apart = CellArrays(apart_NG, np.full(200, 200.0, dtype=np.float32), cells.labels_N)
    one, other = take([apart], np.arange(100)), take([apart], np.arange(100, 200))
    reports = trained(RANDOM_START.replace(pretrain_epochs=4), cells=one, validation=other).reports
    assert max(report.val_r2 for report in reports if report.phase == "pretraining") < 0.05


def test_principal_components_explain_variance_before_training() -> None:
    first = trained(PRETRAINED.replace(pretrain_lr=1e-9)).reports[0]
    assert first.phase == "pretraining"
    assert first.val_r2 > 0.2


def test_labels_are_not_used() -> None:
    cells, validation = arrays(simulated_cells()), arrays(simulated_cells(seed=1))
    last = PRETRAINED.pretrain_epochs - 1
    one = trained(cells=cells, validation=validation, config=PRETRAINED)
    other = trained(cells=with_other_labels(cells), validation=with_other_labels(validation), config=PRETRAINED)
    assert_same_weights(one.checkpoints[last].weights, other.checkpoints[last].weights)
    assert_same_weights(one.checkpoints[last].best, other.checkpoints[last].best)
    assert one.reports[last].val_r2 == other.reports[last].val_r2
    assert one.reports[-1].val_loss != other.reports[-1].val_loss  # classification uses them


def test_unlabelled_cells_are_used() -> None:
    more = arrays(simulated_cells(seed=2))
    more = CellArrays(more.counts_NG, more.library_size_N, np.full(len(more), NO_LABEL))
    alone, together = trained(PRETRAINED), trained(PRETRAINED, unlabelled=more)
    assert not torch.equal(
        alone.checkpoints[0].weights["tokens.value_GD"], together.checkpoints[0].weights["tokens.value_GD"]
    )
    empty = CellArrays(more.counts_NG[:0], more.library_size_N[:0], more.labels_N[:0])
    assert_same_weights(trained(PRETRAINED, unlabelled=empty).weights, alone.weights)


def test_classification_starts_from_the_best_epoch_of_pretraining() -> None:
    """Pretraining does not change the classifier."""
    run = trained(PRETRAINED.replace(lr=1e-12, head_lr=1e-12, weight_decay=0.0))
    best = run.checkpoints[PRETRAINED.pretrain_epochs - 1].best
    for name, tensor in run.weights.items():
        torch.testing.assert_close(tensor, best[name], atol=1e-9, rtol=0.0, msg=name)
    assert torch.equal(best["classifier.weight"], small_model(PRETRAINED.seed).classifier.weight)


@pytest.mark.parametrize("gene", [0, 3, 10, 23])
def test_the_count_of_a_hidden_gene_has_no_effect(gene: int) -> None:
    """Tokens and predictions are the same bit by bit; the count of a shown gene changes its token."""
    masked, cells = masked_model(), arrays(simulated_cells(6))
    hidden_NG = torch.zeros(6, 24, dtype=torch.bool)
    hidden_NG[:, [gene, (gene + 5) % 24]] = True
    library_size_N = torch.from_numpy(cells.library_size_N)
    shown = torch.from_numpy(cells.counts_NG)
    changed = shown.clone()
    changed[:, gene] += 40.0

    def seen(counts_NG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = HiddenGenes(hidden_NG, masked.decoder.hidden_value_D)
        return masked.model.contextual_tokens(counts_NG, library_size_N, hidden), masked(
            counts_NG, library_size_N, hidden_NG
        )

    with torch.no_grad():
        for one, other in zip(seen(shown), seen(changed), strict=True):
            assert torch.equal(one, other)
        open_NG = torch.zeros_like(hidden_NG)
        assert not torch.equal(masked(shown, library_size_N, open_NG), masked(changed, library_size_N, open_NG))
        before, after = (masked.model.contextual_tokens(counts, library_size_N)[:, gene] for counts in (shown, changed))
        assert not torch.equal(before, after)


def test_constant_genes_do_not_count_for_the_error() -> None:
    """The error is compared with its definition."""
    model, cells = small_model(), arrays(simulated_cells(12))
    std_G = np.ones(24)
    std_G[[2, 7]] = 0.0
    model.set_expression_statistics(np.full(24, 2.0), std_G)
    phase = Pretraining(model, ExpressionDecoder(model.config), [cells], cells, PRETRAINED)
    opened(phase.module)
    hidden_NG = ~phase._shown_NG
    counts_NG, library_size_N = torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N)
    with torch.no_grad():
        z_NG = model.tokens.standardised(counts_NG, library_size_N)
        predicted_NG = phase.module(counts_NG, library_size_N, hidden_NG)
    judged_NG = hidden_NG & (torch.arange(24) != 2) & (torch.arange(24) != 7)
    error = (predicted_NG - z_NG)[judged_NG].square()
    metrics = phase.validate(ProcessGroup(), torch.device("cpu"))
    assert metrics["val_loss"] == pytest.approx(float(error.mean()), rel=1e-5)
    assert metrics["val_r2"] == pytest.approx(1 - float(error.sum() / z_NG[judged_NG].square().sum()), rel=1e-5)
