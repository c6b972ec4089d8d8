"""The loop: reproducible, resumable, the same on several processes; and the pure functions around it."""

import socket
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import accuracy_score, f1_score

from sctransformer.data.arrays import CellArrays
from sctransformer.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport, NonFiniteLossError, fit
from sctransformer.training.objectives import class_weights, kept_genes, learning_rate
from sctransformer.training.scores import accuracy_and_macro_f1
from tests.conftest import arrays, simulated_cells, small_model

CONFIG = TrainConfig(seed=3, epochs=8, batch_size=32, lr=1e-2)


def trained(
    config: TrainConfig = CONFIG, resume: Checkpoint | None = None, cells: CellArrays | None = None
) -> tuple[dict[str, torch.Tensor], list[EpochReport], list[Checkpoint]]:
    """Best weights, reports and checkpoints of a small run."""
    model, reports, checkpoints = small_model(config.seed), [], []

    def keep(report: EpochReport, state: Checkpoint) -> None:
        reports.append(report)
        checkpoints.append(state)

    cells = cells or arrays(simulated_cells())
    fit(model, cells, arrays(simulated_cells(seed=1)), config, keep, resume)
    return model.state_dict(), reports, checkpoints


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_training_learns() -> None:
    _, reports, _ = trained()
    assert reports[-1].train_loss < reports[0].train_loss
    assert max(report.val_macro_f1 for report in reports) > 0.9


def test_two_runs_with_one_seed_give_the_same_weights() -> None:
    assert_same_weights(trained()[0], trained()[0])


@pytest.mark.parametrize("epochs_before", [1, 5])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path, epochs_before: int) -> None:
    weights, reports, checkpoints = trained()
    save_checkpoint(checkpoints[epochs_before - 1], tmp_path)
    resumed, later_reports, _ = trained(resume=load_checkpoint(tmp_path))
    assert_same_weights(resumed, weights)
    assert [report.epoch for report in later_reports] == list(range(epochs_before, CONFIG.epochs))
    assert later_reports[-1].val_loss == reports[-1].val_loss


def test_the_best_epoch_is_kept_not_the_last() -> None:
    weights, reports, checkpoints = trained()
    best = max(reports, key=lambda report: (report.val_macro_f1, -report.val_loss))
    assert checkpoints[-1].progress.best_epoch == best.epoch
    assert_same_weights(weights, checkpoints[best.epoch].weights)


def test_a_loss_that_is_no_number_names_epoch_and_step() -> None:
    cells = arrays(simulated_cells())
    cells.counts_NG[5, 5] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"epoch 0, step \d"):
        trained(cells=cells)


def _worker(rank: int, size: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    torch.set_num_threads(1)
    _, _, checkpoints = trained()
    if rank == 0:
        save_checkpoint(checkpoints[-1], Path(folder))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_equal_one(tmp_path: Path, size: int) -> None:
    """90 cells in batches of 32 leave a ragged last batch, and 3 processes an uneven share of it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    mp.spawn(_worker, args=(size, port, str(tmp_path)), nprocs=size)
    alone = trained()[2][-1]
    together = load_checkpoint(tmp_path)
    assert together.progress.best_epoch == alone.progress.best_epoch
    for name, tensor in alone.weights.items():
        torch.testing.assert_close(together.weights[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


def test_class_weights_have_mean_one_over_cells() -> None:
    labels_N = np.array([0, 0, 0, 0, 1, 2])
    weight_C = class_weights(labels_N, 4, power=0.5).numpy()
    assert weight_C[labels_N].mean() == pytest.approx(1.0)
    assert weight_C[1] == pytest.approx(2 * weight_C[0])
    assert weight_C[3] == 0.0


def test_hidden_genes_follow_the_generator() -> None:
    one = kept_genes(torch.Generator().manual_seed(1), 200, 50, 0.25)
    other = kept_genes(torch.Generator().manual_seed(1), 200, 50, 0.25)
    assert torch.equal(one, other)
    assert float(one.mean()) == pytest.approx(0.75, abs=0.02)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels_N, predicted_N = rng.integers(0, 5, 30), rng.integers(0, 5, 30)
        accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, predicted_N, 6)
        assert accuracy == pytest.approx(accuracy_score(labels_N, predicted_N))
        assert macro_f1 == pytest.approx(f1_score(labels_N, predicted_N, average="macro"))
