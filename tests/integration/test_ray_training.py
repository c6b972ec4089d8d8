"""Training with real Ray workers: the bare loop's result, and a worker that is killed in the middle."""

import os
import signal
from pathlib import Path

import psutil
import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.cluster import Task, Workers, fit_on_ray
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport, fit
from tests.conftest import arrays, simulated_cells, small_model

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(seed=5, epochs=12, batch_size=32, lr=1e-2)


def load_cells() -> TrainingCells:
    return TrainingCells(*(arrays(simulated_cells(seed=seed)) for seed in range(3)))


def load_broken_cells() -> TrainingCells:
    cells = load_cells()
    cells.training.counts_NG[:] = float("nan")
    return cells


def make_model() -> PriorBiasedTransformer:
    return small_model(CONFIG.seed)


def bare_run() -> Checkpoint:
    states: list[Checkpoint] = []
    cells = load_cells()
    fit(make_model(), cells.training, cells.validation, CONFIG, on_epoch=lambda report, state: states.append(state))
    return states[-1]


def ray_workers() -> list[psutil.Process]:
    """Processes of Ray that train, youngest last."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: process.create_time())


def test_two_workers_one_of_them_killed_end_where_an_undisturbed_run_ends(tmp_path: Path) -> None:
    """Every epoch is reported once, in order, and the weights are those of the bare loop within float32 noise."""
    reports: list[EpochReport] = []
    killed: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == 4 and not killed:
            victim = ray_workers()[-1]
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    task = Task(make_model, load_cells, CONFIG)
    checkpoint = fit_on_ray(task, Workers(count=2, max_restarts=2), tmp_path, "run", on_epoch)

    assert killed
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    assert checkpoint.progress.epochs_done == CONFIG.epochs
    for name, tensor in bare_run().weights.items():
        torch.testing.assert_close(checkpoint.weights[name], tensor, atol=1e-3, rtol=1e-2, msg=name)
    assert not list(tmp_path.iterdir())  # checkpoints are removed after a good end


def test_a_loss_that_is_no_number_fails_in_one_sentence(tmp_path: Path) -> None:
    task = Task(make_model, load_broken_cells, CONFIG)
    with pytest.raises(UserError, match=r"training run failed: .*the loss is nan in epoch 0, step 0") as caught:
        fit_on_ray(task, Workers(count=1, max_restarts=0), tmp_path, "run", on_epoch=lambda report: None)
    assert "\n" not in str(caught.value)
