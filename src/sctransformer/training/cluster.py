"""Training on Ray Train: workers, checkpoints, restarts."""

import dataclasses
import functools
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")  # needs the dashboard agent, which is not installed
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # an extra process that is not used
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")  # the interval at which the controller reads reports

import pyarrow.fs
import ray.train
from ray.train import Checkpoint as RayCheckpoint
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sctransformer.errors import UserError
from sctransformer.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.ray_connection import connection, on_cluster, require_resources  # before ray is imported
from sctransformer.training.report import EpochListener, EpochReport, NonFiniteLossError
from sctransformer.training.resume import claim_checkpoint
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.task import Task
from sctransformer.training.workers import Workers

FAILURE = "failure.json"
"""File in the run's folder with an error that a restart would repeat; restarted workers that find it stop."""
_END = None
_WITHIN_EPOCH = {"midway": True}
"""Metrics that are reported with a checkpoint within an epoch."""


def fit_on_ray(
    task: Task,
    workers: Workers,
    folder: RunFolder,
    on_epoch: Callable[[EpochReport], None],
    resume: bool = False,
) -> Checkpoint:
    """Train with Ray Train; lost workers are replaced and resume from the last committed checkpoint.

    Connects to the cluster of RAY_ADDRESS, or starts Ray on this machine.

    Args:
        task: model, cells, optimization.
        workers: processes; with several, gradients are averaged with gloo (CPU) or NCCL (GPU).
        folder: checkpoints, in a storage that all workers reach; the caller removes it.
        on_epoch: called in this process once per epoch, in order, also after restarts.
        resume: resume from the last valid checkpoint in `folder`, if there is one.

    Returns:
        The last checkpoint; its `best` are the best weights by validation macro-F1.

    Raises:
        NonFiniteLossError: the loss is not finite; training is not restarted, since it would fail again.
        UserError: the workers cannot be scheduled, the checkpoint belongs to another run, or training failed more often
            than `workers.max_restarts`.
    """
    folder.require_writable()
    start_from: str | None = None
    if resume:
        folder.remove_file(FAILURE)
        found = claim_checkpoint(folder, task)
        start_from = None if found is None else found[0]
    with connection():
        require_resources(workers.minimum or workers.count, workers.cpus, workers.gpus)
        if on_cluster():  # its nodes cannot read this machine's files
            folder.upload_inputs(task.files)
        return _fit(task, workers, folder, on_epoch, start_from)


def _fit(
    task: Task, workers: Workers, folder: RunFolder, on_epoch: Callable[[EpochReport], None], start_from: str | None
) -> Checkpoint:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # on the node of this process
    listener = EpochListener(on_epoch)
    listening = threading.Thread(target=_listen, args=(queue, listener), daemon=True)
    listening.start()
    try:
        fitting = _FitThread(_trainer(task, workers, folder, queue, start_from))
        fitting.start()
        while fitting.is_alive():
            fitting.join(0.2)  # a join without timeout would delay Ctrl-C
        folder.prune_checkpoints()  # a killed worker leaves an incomplete checkpoint
        failure = folder.read_json(FAILURE)
        if failure is not None:
            raise _as_error(failure)
        if isinstance(fitting.error, ray.train.TrainingFailedError):
            raise UserError(f"training failed: {_root_cause(fitting.error)}.") from fitting.error
        if fitting.error is not None:
            raise fitting.error
    finally:
        queue.put(_END)
        listening.join()
        queue.shutdown()
    if listener.failure is not None:
        raise listener.failure
    last = folder.newest_checkpoint()
    if last is None:
        raise UserError(f"training ended without a checkpoint; see the logs under {folder.url}.")
    return last[1]


class _Trainer(TorchTrainer):
    """Ray's trainer without helper actors that have nothing to do here; each takes seconds to start.

    Cells are not Ray datasets. On this machine workers end with Ray; on a cluster the cleaner frees their CPUs if the
    controller is killed.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused = {"DatasetsCallback"} if on_cluster() else {"DatasetsCallback", "PlacementGroupCleanerCallback"}
        return [found for found in super()._create_default_callbacks() if type(found).__name__ not in unused]


def _trainer(task: Task, workers: Workers, folder: RunFolder, queue: Queue, start_from: str | None) -> TorchTrainer:
    task_ref = ray.put(task)  # read by workers only, so that the controller imports none of its libraries
    resources = {"CPU": workers.cpus} | ({"GPU": 1} if workers.gpus else {})
    filesystem = None if folder.is_local else pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.filesystem))
    count = workers.count if workers.minimum is None else (workers.minimum, workers.count)
    return _Trainer(
        _train_worker,
        train_loop_config={"task": task_ref, "folder": folder.url, "start_from": start_from, "uploaded": on_cluster()},
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
            callbacks=[_ForwardReports(queue)],
        ),
    )


def _train_worker(settings: dict[str, Any]) -> None:
    """Runs in each worker."""
    from sctransformer.training.in_process import train_task  # here: driver and controller start without the trainer
    from sctransformer.training.trainer import Callbacks

    task: Task = ray.get(settings["task"])
    folder = RunFolder(*settings["folder"].rsplit("/", maxsplit=1))
    if folder.read_json(FAILURE) is not None:
        return  # restarted after a failure that would happen again
    try:
        files = folder.fetch_inputs(task.files) if settings["uploaded"] else task.files
        callbacks = Callbacks(
            on_epoch_end=lambda report, checkpoint: _report(dataclasses.asdict(report), checkpoint),
            on_checkpoint=functools.partial(_report, _WITHIN_EPOCH),
        )
        train_task(task, files, get_device(), callbacks, _last_checkpoint(folder, settings["start_from"]))
    except NonFiniteLossError as error:  # raised in all workers at once: they share the loss
        if ray.train.get_context().get_world_rank() == 0:
            content = {"epoch": error.epoch, "step": error.step, "rows": error.rows}
            folder.write_json(FAILURE, {"message": str(error), "non_finite": content})
    except UserError as error:
        folder.write_json(FAILURE, {"message": str(error)})
        raise


def _last_checkpoint(folder: RunFolder, start_from: str | None) -> Checkpoint | None:
    """The last checkpoint before a restart, else the one to start from."""
    latest = ray.train.get_checkpoint()
    if latest is not None:
        with latest.as_directory() as local:
            return load_checkpoint(Path(local))
    return None if start_from is None else folder.read_checkpoint(start_from)


def _report(metrics: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Report to Ray Train, a barrier for all workers; rank 0 adds the checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        saved = None
        if ray.train.get_context().get_world_rank() == 0:
            save_checkpoint(checkpoint, Path(folder))
            saved = RayCheckpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=saved)


class _FitThread(threading.Thread):
    """`TorchTrainer.fit` in a thread: in the main thread Ray handles Ctrl-C itself and reports success."""

    def __init__(self, trainer: TorchTrainer) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self.error = error


class _ForwardReports(UserCallback):
    """Sends each committed epoch from Ray's controller to the process that called `fit_on_ray`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: RayCheckpoint | None) -> None:
        if metrics[0] != _WITHIN_EPOCH:
            self._queue.put(metrics[0])


def _listen(queue: Queue, listener: EpochListener) -> None:
    """Pass on each report until the end."""
    while (metrics := queue.get()) is not _END:
        listener(EpochReport(**metrics))


def _as_error(failure: dict[str, Any]) -> Exception:
    found = failure.get("non_finite")
    if found is None:
        return UserError(failure["message"])
    return NonFiniteLossError(failure["message"], found["epoch"], found["step"], found["rows"])


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[-1].rstrip(".") if lines else type(error).__name__
