"""Training in this process, without Ray: for small data and quick trials."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from sctransformer.errors import UserError, one_line
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.report import EpochListener, EpochReport, NonFiniteLossError
from sctransformer.training.resume import claim_checkpoint
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.task import Files, Task
from sctransformer.training.trainer import Callbacks, Trainer
from sctransformer.training.workers import Workers


def fit_in_process(
    task: Task,
    workers: Workers,
    folder: RunFolder,
    on_epoch: Callable[[EpochReport], None],
    resume: bool = False,
) -> Checkpoint:
    """Train in this process, with the result of one Ray worker, bit by bit.

    Checkpoints are those that `fit_on_ray` writes, so that each can resume what the other has started. After an error
    training is not started again.

    Args:
        task: model, cells, optimization.
        workers: whether to use the GPU, and the number of threads.
        folder: checkpoints; the caller removes it.
        on_epoch: called once per epoch, in order.
        resume: resume from the last valid checkpoint in `folder`, if there is one.

    Returns:
        The last checkpoint; its `best` are the best weights by validation macro-F1.

    Raises:
        NonFiniteLossError: the loss is not finite.
        UserError: there is no GPU, the checkpoint belongs to another run, or training failed.
    """
    device = choose_device(workers.gpus)
    folder.require_writable()
    found = claim_checkpoint(folder, task) if resume else None
    listener = EpochListener(on_epoch)
    kept, attempt = None if found is None else found[0], folder.new_attempt()

    def keep(checkpoint: Checkpoint) -> None:
        nonlocal kept
        kept = folder.replace_checkpoint(attempt, checkpoint, kept)

    def end_epoch(report: EpochReport, checkpoint: Checkpoint) -> None:
        keep(checkpoint)
        listener(report)

    try:
        with _threads(max(1, int(workers.cpus))):
            resumed = None if found is None else found[1]
            checkpoint = train_task(task, task.files, device, Callbacks(end_epoch, keep), resumed)
    except (NonFiniteLossError, UserError):
        raise
    except Exception as error:  # such as a full disk
        raise UserError(f"training failed: {one_line(error)}.") from error
    finally:
        folder.prune_checkpoints()
    if listener.failure is not None:
        raise listener.failure
    return checkpoint


def train_task(
    task: Task, files: Files, device: torch.device, callbacks: Callbacks, resume: Checkpoint | None
) -> Checkpoint:
    """Train in one process, which may be one of several workers.

    Args:
        task: recipes and settings.
        files: where this process finds `task.files`.
        device: where to compute.
        callbacks: called after each epoch, and with each checkpoint within an epoch.
        resume: checkpoint to resume from.

    Returns:
        The last checkpoint.
    """
    cells = task.load_cells(files)
    torch.manual_seed(task.config.seed)
    return Trainer(task.make_model(files), cells, task.config, task.execution, device, callbacks).fit(resume)


def choose_device(gpu: bool) -> torch.device:
    """The GPU, or the CPU.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if gpu and not torch.cuda.is_available():
        raise UserError("train.gpus needs a GPU and this machine has 0: set train.gpus=false.")
    return torch.device("cuda" if gpu else "cpu")


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with this number of threads, as a Ray worker does: the order of sums depends on it."""
    before = torch.get_num_threads()
    with threadpool_limits(limits=number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)
