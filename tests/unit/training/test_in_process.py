"""Training without Ray: the result of the trainer, also after an interruption or a full disk."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import PROGRESS
from sctransformer.training.execution import Execution
from sctransformer.training.in_process import fit_in_process
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.task import Task
from sctransformer.training.workers import Workers
from tests.conftest import arrays, simulated_cells, small_model
from tests.unit.training import training_runs
from tests.unit.training.training_runs import assert_same_weights, failing_after, trained

HERE = Workers(count=0)
CONFIG = training_runs.CONFIG.replace(epochs=5)


def load_cells(files: Mapping[str, Path]) -> TrainingCells:
    return TrainingCells(arrays(simulated_cells()), arrays(simulated_cells(seed=1)))


def make_model(files: Mapping[str, Path]) -> PriorBiasedTransformer:
    return small_model(CONFIG.seed)


def make_failing_model(files: Mapping[str, Path]) -> PriorBiasedTransformer:
    """Its scores are NaN from the 20th call on."""
    return failing_after(make_model(files), calls=19)


@functools.cache
def best_weights() -> dict[str, torch.Tensor]:
    """The weights of the trainer alone."""
    return trained(CONFIG).weights


TASK = Task(make_model, load_cells, CONFIG, Execution(checkpoint_steps=1))


class Interrupted(list[EpochReport]):
    """Reports of epochs; Ctrl-C is pressed after the third."""

    def __call__(self, report: EpochReport) -> None:
        """Keep a report."""
        self.append(report)
        if len(self) == 3:
            raise KeyboardInterrupt


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunFolder]:
    """A run's folder on this machine, and in a storage of fsspec."""
    yield RunFolder(tmp_path if request.param == "local" else "memory://runs", "run")
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/runs", recursive=True)


def checkpoints(folder: RunFolder) -> list[str]:
    return list(folder.filesystem.glob(f"{folder.path}/*/*/{PROGRESS}"))


def test_the_weights_are_those_of_the_trainer_and_only_the_last_checkpoint_is_kept(folder: RunFolder) -> None:
    reports: list[EpochReport] = []
    checkpoint = fit_in_process(TASK, HERE, folder, reports.append)
    assert_same_weights(checkpoint.best, best_weights())
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    found = folder.newest_checkpoint()
    assert found is not None
    assert "/attempt-1/checkpoint_" in found[0]
    assert_same_weights(found[1].weights, checkpoint.weights)
    assert len(checkpoints(folder)) == 1


def test_an_interrupted_training_is_resumed_with_the_same_weights(folder: RunFolder) -> None:
    reports = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        fit_in_process(TASK, HERE, folder, reports)
    assert len(checkpoints(folder)) == 1
    checkpoint = fit_in_process(TASK, HERE, folder, reports.append, resume=True)
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    assert_same_weights(checkpoint.best, best_weights())
    assert len(checkpoints(folder)) == 1


def test_a_non_finite_loss_leaves_the_last_valid_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan in epoch \d, step \d+"):
        fit_in_process(replace(TASK, make_model=make_failing_model), HERE, folder, lambda report: None)
    found = folder.newest_checkpoint()
    assert found is not None
    assert all(tensor.isfinite().all() for tensor in found[1].weights.values())


def test_training_resumes_after_a_full_disk(small_disk: Path) -> None:
    """The error names the reason; the checkpoint before is kept."""
    ballast, reports, folder = small_disk / "ballast", list[EpochReport](), RunFolder(small_disk, "run")

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        if report.epoch == 3:
            with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    with pytest.raises(UserError, match=r"No space left on device"):
        fit_in_process(TASK, HERE, folder, on_epoch)
    assert len(checkpoints(folder)) == 1
    ballast.unlink()
    checkpoint = fit_in_process(TASK, HERE, folder, reports.append, resume=True)
    assert [report.epoch for report in reports] == list(range(CONFIG.epochs))
    assert_same_weights(checkpoint.best, best_weights())


def test_an_error_of_the_listener_is_raised_after_the_last_epoch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")

    def fail(report: EpochReport) -> None:
        raise ValueError("the server is down")

    with pytest.raises(ValueError, match="the server is down"):
        fit_in_process(TASK, HERE, folder, fail)
    found = folder.newest_checkpoint()
    assert found is not None
    assert found[1].progress.epochs_done == CONFIG.epochs


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    with pytest.raises(KeyboardInterrupt):
        fit_in_process(TASK, HERE, folder, Interrupted())
    other = replace(TASK, config=CONFIG.replace(lr=0.5))
    with pytest.raises(UserError, match=r"the checkpoint has train\.lr 0\.01 and this run 0\.5"):
        fit_in_process(other, HERE, folder, lambda report: None, resume=True)


def test_a_missing_gpu_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # also on a machine with a GPU
    with pytest.raises(UserError, match=r"train\.gpus needs a GPU and this machine has 0"):
        fit_in_process(TASK, Workers(count=0, gpus=True), RunFolder(tmp_path, "run"), lambda report: None)


def test_the_number_of_threads_is_restored(tmp_path: Path) -> None:
    seen: list[int] = []
    task, workers = replace(TASK, config=CONFIG.replace(epochs=1)), Workers(count=0, cpus=2)
    fit_in_process(task, workers, RunFolder(tmp_path, "run"), lambda report: seen.append(torch.get_num_threads()))
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1
