"""Training with real Ray workers: the bare loop's result, and a worker that is killed in the middle."""

import itertools
import os
import signal
from pathlib import Path

import psutil
import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.transformer import ModelOutput
from sctransformer.training.checkpoint import PROGRESS, Checkpoint, load_checkpoint
from sctransformer.training.cluster import Task, Workers, fit_on_ray
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport, fit
from tests.conftest import arrays, simulated_cells, small_model

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(seed=5, epochs=12, min_steps=0, batch_size=32, lr=1e-2, head_lr=1e-2)


def load_cells() -> TrainingCells:
    return TrainingCells(*(arrays(simulated_cells(seed=seed)) for seed in range(3)))


def make_model() -> PriorBiasedTransformer:
    return small_model(CONFIG.seed)


def make_failing_model() -> PriorBiasedTransformer:
    """Its scores are no numbers from the 8th call on. An epoch calls it three times to train, and three to validate."""
    model, calls = make_model(), itertools.count()

    def fail(module: torch.nn.Module, inputs: object, output: ModelOutput) -> ModelOutput:
        return output._replace(logits_NC=output.logits_NC * (float("nan") if next(calls) >= 7 else 1.0))

    model.register_forward_hook(fail)
    return model


def bare_run(resume: Checkpoint | None = None) -> Checkpoint:
    """The last checkpoint of the same training in this process, without Ray."""
    states: list[Checkpoint] = []
    training, validation, unlabelled = load_cells()

    def keep(report: EpochReport, state: Checkpoint) -> None:
        states.append(state)

    fit(make_model(), training, validation, CONFIG, keep, resume, unlabelled=unlabelled)
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


def test_a_loss_that_is_no_number_fails_in_one_sentence_and_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    """Training again from that checkpoint, with a model that does not fail, ends where an undisturbed run ends."""
    task = Task(make_failing_model, load_cells, CONFIG)
    with pytest.raises(UserError, match=r"training run failed: .*the loss is nan in epoch 1, step 4") as caught:
        fit_on_ray(task, Workers(count=1, max_restarts=0), tmp_path, "run", on_epoch=lambda report: None)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"; its last checkpoint is under {tmp_path / 'run'}.")
    (kept,) = (tmp_path / "run").rglob(PROGRESS)
    checkpoint = load_checkpoint(kept.parent)
    assert checkpoint.progress.epochs_done == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint.weights.values())
    whole, resumed = bare_run(), bare_run(checkpoint)
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(resumed.weights[name], tensor, atol=1e-3, rtol=1e-2, msg=name)
