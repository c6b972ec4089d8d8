"""Training on Ray: workers, checkpoints, restarts. The one file that imports ray.train."""

import dataclasses
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray starts
os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")  # needs the dashboard agent, which is not installed
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")  # the controller takes reports in at this pace

import ray
import ray.train
import torch
from ray.train import Checkpoint as RayCheckpoint
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.queue import Queue

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import PROGRESS, Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport, fit

_END = None


@dataclass(frozen=True)
class Task:
    """What every worker needs. Shipped to the workers, so it holds recipes rather than cells."""

    make_model: Callable[[], PriorBiasedTransformer]
    """Builds the model with fresh weights; called after seeding, so that all workers build the same."""
    load_cells: Callable[[], TrainingCells]
    """Reads the cells."""
    config: TrainConfig


@dataclass(frozen=True)
class Workers:
    """How many processes train, and on what."""

    count: int = 2
    gpus: bool = False
    max_restarts: int = 3


def fit_on_ray(
    task: Task, workers: Workers, storage: Path, name: str, on_epoch: Callable[[EpochReport], None]
) -> Checkpoint:
    """Train with Ray Train; lost workers are replaced and go on from the last committed checkpoint.

    Connects to the cluster of RAY_ADDRESS, else starts Ray on this machine.

    Args:
        task: model, cells, optimisation.
        workers: processes; with several, gradients are averaged with gloo (CPU) or NCCL (GPU).
        storage: folder for checkpoints, seen by all workers. `storage / name` is removed when training has ended well.
        name: of the run, unique in `storage`.
        on_epoch: called here, in this process, once for each epoch, in order, whatever was restarted.

    Returns:
        The last checkpoint; its `best` are the best weights by validation macro-F1.

    Raises:
        UserError: training failed more often than `workers.max_restarts` allows, or its loss is no number any more.
    """
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    queue = Queue(actor_options={"num_cpus": 0})
    listener = _Listener(queue, on_epoch)
    listener.start()
    try:
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={"task": task},
            torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=workers.gpus),
            run_config=RunConfig(
                name=name,
                storage_path=str(storage.resolve()),
                failure_config=FailureConfig(max_failures=workers.max_restarts),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                callbacks=[_Forward(queue)],
            ),
        )
        result = trainer.fit()
        if result.checkpoint is None:
            raise UserError(f"training {name} ended without a checkpoint; see the logs under {storage / name}.")
        with result.checkpoint.as_directory() as folder:
            checkpoint = load_checkpoint(Path(folder))
    except ray.train.TrainingFailedError as error:
        kept = "" if _last_checkpoint(storage / name) is None else f"; its last checkpoint is under {storage / name}"
        raise UserError(f"training {name} failed: {_root_cause(error)}{kept}.") from error
    finally:
        queue.put(_END)
        listener.join()
        queue.shutdown()
        if started_here:
            ray.shutdown()
    if listener.failure is not None:
        raise listener.failure
    shutil.rmtree(storage / name, ignore_errors=True)
    return checkpoint


def _train_worker(settings: dict[str, Any]) -> None:
    """Runs in each worker."""
    task: Task = settings["task"]
    cells = task.load_cells()
    torch.manual_seed(task.config.seed)
    model = task.make_model()
    fit(
        model,
        cells.training,
        cells.validation,
        task.config,
        on_epoch=_report,
        resume=_committed_checkpoint(),
        device=get_device(),
        unlabelled=cells.unlabelled,
    )


def _committed_checkpoint() -> Checkpoint | None:
    held = ray.train.get_checkpoint()
    if held is None:
        return None
    with held.as_directory() as folder:
        return load_checkpoint(Path(folder))


def _report(report: EpochReport, state: Checkpoint) -> None:
    """Rank 0 gives the checkpoint; the call is a barrier for all."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            save_checkpoint(state, Path(folder))
            checkpoint = RayCheckpoint.from_directory(folder)
        ray.train.report(dataclasses.asdict(report), checkpoint=checkpoint)


class _Forward(UserCallback):
    """Sends each committed epoch from Ray's controller to the process that called `fit_on_ray`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: RayCheckpoint | None) -> None:
        self._queue.put(metrics[0])


class _Listener(threading.Thread):
    """Hands epochs on until the end; an epoch that a restarted worker repeats is passed over."""

    failure: Exception | None = None
    """What `on_epoch` raised. It is called no more then, but training goes on: figures are less than weights."""

    def __init__(self, queue: Queue, on_epoch: Callable[[EpochReport], None]) -> None:
        super().__init__(daemon=True)
        self._queue = queue
        self._on_epoch = on_epoch

    def run(self) -> None:
        last = -1
        while (metrics := self._queue.get()) is not _END:
            report = EpochReport(**metrics)
            if report.epoch > last and self.failure is None:
                last = report.epoch
                try:
                    self._on_epoch(report)
                except Exception as error:
                    self.failure = error


def _last_checkpoint(folder: Path) -> Path | None:
    """The youngest checkpoint below a folder; Ray keeps one, whatever became of the run."""
    found = sorted(folder.rglob(PROGRESS), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1].rstrip(".") if lines else type(error).__name__
