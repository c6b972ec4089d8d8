"""Training on Ray: workers, checkpoints, restarts."""

import dataclasses
import functools
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")  # needs the dashboard agent, which is not installed
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process that would tell us what we do not ask
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")  # the controller takes reports in at this pace

import pyarrow.fs
import ray.train
import torch
from ray.train import Checkpoint as RayCheckpoint
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import Checkpoint, load_checkpoint, require_same_run, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.loop import fit
from sctransformer.training.ray_connection import connection, on_cluster, require_resources  # before ray is imported
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.workers import Workers

FAILURE = "failure.json"
"""File of a run's folder that says why to go on makes no sense: workers that find it do nothing."""
_END = None
_MIDWAY = {"midway": True}
"""What is reported with a checkpoint in the middle of an epoch."""

Files = Mapping[str, Path]


@dataclass(frozen=True)
class Task:
    """What every worker needs. Shipped to the workers, so it holds recipes rather than cells."""

    make_model: Callable[[Files], PriorBiasedTransformer]
    """Builds the model with fresh weights; called after seeding, so that all workers build the same."""
    load_cells: Callable[[Files], TrainingCells]
    """Opens the cells."""
    config: TrainConfig
    execution: Execution = field(default_factory=Execution)
    files: Files = field(default_factory=dict)
    """What the recipes read, by the names under which they look for it."""


def fit_on_ray(
    task: Task,
    workers: Workers,
    folder: RunFolder,
    on_epoch: Callable[[EpochReport], None],
    resume: bool = False,
) -> Checkpoint:
    """Train with Ray Train; lost workers are replaced and go on from the last committed checkpoint.

    Connects to the cluster of RAY_ADDRESS, else starts Ray on this machine.

    Args:
        task: model, cells, optimisation.
        workers: processes; with several, gradients are averaged with gloo (CPU) or NCCL (GPU).
        folder: for checkpoints, seen by all workers; removed by whoever has put the result away.
        on_epoch: called here, in this process, once for each epoch, in order, whatever was restarted.
        resume: go on from the last whole checkpoint in `folder`, if there is one.

    Returns:
        The last checkpoint; its `best` are the best weights by validation macro-F1.

    Raises:
        NonFiniteLossError: the loss is no number any more; nothing was tried again, for it would be the same.
        UserError: the workers cannot be had, the checkpoint belongs to another run, or training failed more often than
            `workers.max_restarts` allows.
    """
    folder.require_writable()
    begin: str | None = None
    if resume:
        folder.remove_file(FAILURE)
        folder.clean()
        found = folder.take_newest()
        if found is not None:
            begin = found[0]
            require_same_run(found[1], task.make_model(task.files), task.config)
    with connection():
        require_resources(workers.minimum or workers.count, workers.cpus, workers.gpus)
        if on_cluster():  # its nodes do not see this machine's files
            folder.share(task.files)
        return _fit(task, workers, folder, on_epoch, begin)


def _fit(
    task: Task, workers: Workers, folder: RunFolder, on_epoch: Callable[[EpochReport], None], begin: str | None
) -> Checkpoint:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # lost only with this process's node
    listener = _Listener(queue, on_epoch)
    listener.start()
    try:
        fitting = _Fitting(_trainer(task, workers, folder, queue, begin))
        fitting.start()
        while fitting.is_alive():
            fitting.join(0.2)  # so that Ctrl-C is heard
        folder.clean()  # a worker that was killed leaves a folder that nobody knows of
        reason = folder.read(FAILURE)
        if reason is not None:
            raise _failure(reason)
        if isinstance(fitting.error, ray.train.TrainingFailedError):
            raise UserError(f"training failed: {_root_cause(fitting.error)}.") from fitting.error
        if fitting.error is not None:
            raise fitting.error
    finally:
        queue.put(_END)
        listener.join()
        queue.shutdown()
    if listener.failure is not None:
        raise listener.failure
    last = folder.newest_checkpoint()
    if last is None:
        raise UserError(f"training ended without a checkpoint; see the logs under {folder.url}.")
    return last[1]


def _trainer(task: Task, workers: Workers, folder: RunFolder, queue: Queue, begin: str | None) -> TorchTrainer:
    resources = {"CPU": workers.cpus} | ({"GPU": 1} if workers.gpus else {})
    filesystem = None if folder.is_local else pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.filesystem))
    count = workers.count if workers.minimum is None else (workers.minimum, workers.count)
    return TorchTrainer(
        _train_worker,
        train_loop_config={"task": task, "folder": folder.url, "begin": begin, "shared": on_cluster()},
        torch_config=TorchConfig(backend="nccl" if workers.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=workers.gpus,
            resources_per_worker=resources,
            placement_strategy=workers.placement,
        ),
        run_config=RunConfig(
            name=folder.new_attempt(),
            storage_path=folder.path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=workers.max_restarts),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=[_Forward(queue)],
        ),
    )


def _train_worker(settings: dict[str, Any]) -> None:
    """Runs in each worker."""
    task: Task = settings["task"]
    folder = RunFolder(*settings["folder"].rsplit("/", maxsplit=1))
    if folder.read(FAILURE) is not None:
        return  # started again after a failure that would come again
    try:
        files = folder.shared(task.files) if settings["shared"] else task.files
        cells = task.load_cells(files)
        torch.manual_seed(task.config.seed)
        fit(
            task.make_model(files),
            cells.training,
            cells.validation,
            task.config,
            on_epoch=lambda report, state: _report(dataclasses.asdict(report), state),
            resume=_last_checkpoint(folder, settings["begin"]),
            device=get_device(),
            unlabelled=cells.unlabelled,
            execution=task.execution,
            on_checkpoint=functools.partial(_report, _MIDWAY),
        )
    except NonFiniteLossError as error:  # in all workers at once, for they know each other's losses
        if ray.train.get_context().get_world_rank() == 0:
            content = {"epoch": error.epoch, "step": error.step, "rows": error.rows}
            folder.write(FAILURE, {"message": str(error), "non_finite": content})
    except UserError as error:
        folder.write(FAILURE, {"message": str(error)})
        raise


def _last_checkpoint(folder: RunFolder, begin: str | None) -> Checkpoint | None:
    """Of this call of the trainer, else the one to begin with."""
    held = ray.train.get_checkpoint()
    if held is not None:
        with held.as_directory() as local:
            return load_checkpoint(Path(local))
    return None if begin is None else folder.read_checkpoint(begin)


def _report(metrics: dict[str, Any], state: Checkpoint) -> None:
    """Rank 0 gives the checkpoint; the call is a barrier for all."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if ray.train.get_context().get_world_rank() == 0:
            save_checkpoint(state, Path(folder))
            checkpoint = RayCheckpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


class _Fitting(threading.Thread):
    """The call of `fit`, beside the main thread: in it Ray would take Ctrl-C for itself, and end with success."""

    def __init__(self, trainer: TorchTrainer) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self.error = error


class _Forward(UserCallback):
    """Sends each committed epoch from Ray's controller to the process that called `fit_on_ray`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: RayCheckpoint | None) -> None:
        if metrics[0] != _MIDWAY:
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


def _failure(reason: dict[str, Any]) -> Exception:
    found = reason.get("non_finite")
    if found is None:
        return UserError(reason["message"])
    return NonFiniteLossError(reason["message"], found["epoch"], found["step"], found["rows"])


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1].rstrip(".") if lines else type(error).__name__
