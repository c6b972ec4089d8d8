"""Training with real Ray workers: the result of the trainer alone, also after a worker was killed."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import PROGRESS, Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.cluster import Workers, fit_on_ray
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.in_process import fit_in_process
from sctransformer.training.ray_connection import connection
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.task import Task
from sctransformer.training.trainer import Trainer
from tests.conftest import arrays, simulated_cells, small_model
from tests.unit.training.training_runs import assert_same_weights, failing_after

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(seed=5, epochs=12, min_steps=0, batch_size=32, lr=1e-2, head_lr=1e-2)


def load_cells(files: Mapping[str, Path]) -> TrainingCells:
    return TrainingCells(*(arrays(simulated_cells(seed=seed)) for seed in range(3)))


def make_model(files: Mapping[str, Path]) -> PriorBiasedTransformer:
    return small_model(CONFIG.seed)


def make_failing_model(files: Mapping[str, Path]) -> PriorBiasedTransformer:
    """Its scores are NaN from the 8th call on. An epoch has three calls in training and three in validation."""
    return failing_after(make_model(files), calls=7)


TASK = Task(make_model, load_cells, CONFIG, Execution(checkpoint_steps=2))


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[None]:
    """One Ray instance for all tests."""
    with connection():
        yield


@functools.cache
def bare_run() -> Checkpoint:
    """The last checkpoint of the same training without Ray."""
    return Trainer(make_model({}), load_cells({}), CONFIG).fit()


def actors(name: str) -> list[psutil.Process]:
    """Processes of an actor of Ray Train, the youngest last."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: process.create_time())


def complete_checkpoints(folder: RunFolder) -> list[Path]:
    return list(Path(folder.path).glob(f"*/*/{PROGRESS}"))


def test_training_with_a_killed_worker_gives_the_result_of_an_uninterrupted_run(tmp_path: Path) -> None:
    """Each epoch is reported once, in order, and the weights are those of the trainer alone within float32 rounding."""
    reports: list[EpochReport] = []
    killed: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == 4 and not killed:
            assert len(actors("TrainController")) == 1
            assert not actors("DatasetManager") + actors("PlacementGroupCleaner")  # each takes seconds to start
            victim = actors("RayTrainWorker")[-1]
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    folder = RunFolder(tmp_path / "Prüf ordner", "run")
    checkpoint = fit_on_ray(TASK, Workers(count=2, max_restarts=2), folder, on_epoch)

    assert killed
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    assert [EpochReport(**fields) for fields in checkpoint.history] == reports
    assert checkpoint.progress.position == (CONFIG.epochs, 0)
    for name, tensor in bare_run().weights.items():
        torch.testing.assert_close(checkpoint.weights[name], tensor, atol=1e-3, rtol=1e-2, msg=name)
    assert len(complete_checkpoints(folder)) == 1  # the incomplete checkpoint of the killed worker is removed


def interrupted_in_process(folder: RunFolder, epoch: int) -> list[EpochReport]:
    """Train without Ray until an epoch has ended."""
    reports: list[EpochReport] = []

    def interrupt(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_in_process(TASK, Workers(count=0), folder, interrupt)
    return reports


DRIVER = """
import os, signal, sys
from tests.integration.test_ray_training import TASK
from sctransformer.training.cluster import Workers, fit_on_ray
from sctransformer.training.run_folder import RunFolder

def on_epoch(report):
    print(report.epoch, flush=True)
    if report.epoch == 4:
        os.kill(os.getpid(), signal.SIGKILL)

fit_on_ray(TASK, Workers(count=1), RunFolder(sys.argv[1], "run"), on_epoch, resume=True)
"""


def test_training_is_resumed_with_ray_and_without_after_a_killed_driver_and_a_non_finite_loss(tmp_path: Path) -> None:
    """Always from the last valid checkpoint; the weights are those of an uninterrupted run, bit by bit.

    It starts without Ray, is resumed with one Ray worker twice, and ends without Ray.
    """
    folder = RunFolder(tmp_path, "run")
    assert [report.epoch for report in interrupted_in_process(folder, epoch=1)] == [0, 1]

    done = subprocess.run([sys.executable, "-c", DRIVER, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout.split() == ["2", "3", "4"]
    found = folder.newest_checkpoint()
    assert found is not None
    epochs_done = found[1].progress.epochs_done
    assert 5 <= epochs_done < CONFIG.epochs - 2
    half = Path(found[0]).parent / "checkpoint_half"
    half.mkdir()
    (half / PROGRESS).write_bytes((Path(found[0]) / PROGRESS).read_bytes())

    reports: list[EpochReport] = []
    failing = replace(TASK, make_model=make_failing_model)
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan in epoch \d, step \d+") as caught:
        fit_on_ray(failing, Workers(count=1), folder, reports.append, resume=True)
    assert len(set(caught.value.rows)) in (26, 32)
    assert len(reports) <= 2  # a restarted worker would count its calls from zero and get further
    (kept,) = complete_checkpoints(folder)
    checkpoint = load_checkpoint(kept.parent)
    assert checkpoint.progress.position > found[1].progress.position
    assert all(tensor.isfinite().all() for tensor in checkpoint.weights.values())

    resumed = fit_in_process(TASK, Workers(count=0), folder, reports.append, resume=True)
    first = reports[0].epoch  # workers of the killed driver may have finished another epoch
    assert epochs_done <= first < CONFIG.epochs - 2
    assert [report.epoch for report in reports] == list(range(first, CONFIG.epochs))
    assert [fields["epoch"] for fields in resumed.history] == list(range(CONFIG.epochs))
    assert_same_weights(resumed.weights, bare_run().weights)
    assert_same_weights(resumed.best, bare_run().best)
    assert len(complete_checkpoints(folder)) == 1


def test_training_resumes_after_a_full_disk(small_disk: Path) -> None:
    """The error names the reason; training resumes once there is space."""
    reports: list[EpochReport] = []
    ballast = small_disk / "ballast"

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == 3:
            with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    folder = RunFolder(small_disk, "run")
    with pytest.raises(UserError, match=r"training failed: .*No space left on device"):
        fit_on_ray(TASK, Workers(count=1, max_restarts=0), folder, on_epoch)
    (kept,) = complete_checkpoints(folder)
    epochs_done = load_checkpoint(kept.parent).progress.epochs_done
    assert 4 <= epochs_done < CONFIG.epochs

    ballast.unlink()
    resumed = fit_in_process(TASK, Workers(count=0), folder, reports.append, resume=True)
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    assert_same_weights(resumed.weights, bare_run().weights)
    assert len(complete_checkpoints(folder)) == 1


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        (
            Workers(count=500),
            r"train\.workers is 500 with 1 CPU each and this machine has \d+ CPUs: set train\.workers=",
        ),
        (Workers(count=1, gpus=True), r"train\.gpus needs a GPU for each of 1 workers and this machine has 0"),
    ],
)
def test_workers_that_cannot_be_scheduled_are_refused(tmp_path: Path, workers: Workers, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        fit_on_ray(TASK, workers, RunFolder(tmp_path, "run"), lambda report: None)


def test_a_checkpoint_of_another_run_is_refused_before_workers_start(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    (tmp_path / "run" / "attempt-1" / "checkpoint").mkdir(parents=True)
    save_checkpoint(bare_run(), tmp_path / "run" / "attempt-1" / "checkpoint")
    other = replace(TASK, config=CONFIG.replace(lr=0.5))
    with pytest.raises(UserError, match=r"the checkpoint has train\.lr 0\.01 and this run 0\.5"):
        fit_on_ray(other, Workers(count=1), folder, lambda report: None, resume=True)
