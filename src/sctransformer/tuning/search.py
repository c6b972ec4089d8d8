"""Hyperparameter search on Ray Tune: trials, early stopping, time budget, resuming."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the caller prints the progress
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")  # interval at which finished trials are recorded

import ray.tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from sctransformer.errors import UserError
from sctransformer.training.ray_connection import connection  # before ray is imported
from sctransformer.tuning.space import SearchSpace, Values

METRIC = "val_macro_f1"
"""Trials are compared by the best value of this metric over their epochs."""
EPOCH = "supervised_epochs"
"""Epochs of classification so far; early stopping compares trials at the same number. Pretraining is not counted."""

Report = Callable[[dict[str, float]], None]
"""Called by a trial after each epoch with its metrics; it does not return if the trial is stopped early."""


class SearchCallback(Protocol):
    """Events of a search, in the process that called `search`."""

    def on_trial_start(self, trial_id: str, values: dict[str, Any]) -> None:
        """A trial starts, or starts again after an interruption."""

    def on_epoch_end(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """A trial has finished an epoch."""

    def on_trial_end(self, trial_id: str, failed: bool) -> None:
        """A trial has finished, was stopped early, or has failed."""


@dataclass(frozen=True)
class Trial:
    """The result of a trial."""

    values: dict[str, Any]
    score: float | None
    """Best validation macro-F1; None if the trial failed or reported no epoch."""


@dataclass(frozen=True)
class SearchPlan:
    """Everything that decides which trials a search runs."""

    space: SearchSpace
    first: dict[str, Any]
    """Parameter values of the first trial."""
    max_epochs: int
    """Epochs of classification in a trial that is not stopped early."""
    seed: int = 0
    """Random seed for the sampled values."""


def search(
    train: Callable[[dict[str, Any], Report], None],
    plan: SearchPlan,
    folder: Path,
    callback: SearchCallback,
    code: Sequence[Path] = (),
) -> list[Trial]:
    """Run a search, or resume the one whose state is in `folder`.

    A resumed search keeps finished trials and restarts the others.

    Args:
        train: trains with the given values and reports each epoch; runs in the process of a trial.
        plan: the trials.
        folder: state of the search.
        callback: see `SearchCallback`.
        code: folders of packages that are shipped to a cluster in addition to sctransformer.

    Raises:
        UserError: the folder holds a search that cannot be resumed.
    """
    with connection(code=code):
        trainable = ray.tune.with_resources(ray.tune.with_parameters(_trial, train=train), {"cpu": 1})
        tuner = _restored(folder, trainable) if (folder / "tuner.pkl").exists() else _new(folder, trainable, plan)
        _ACTIVE.callback = callback
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the callback reports failed trials
        results = _fit_interruptibly(tuner)
    return [_as_trial(result) for result in results]


def _new(folder: Path, trainable: Any, plan: SearchPlan) -> Tuner:
    space = plan.space
    return Tuner(
        trainable,
        param_space={name: _distribution(values) for name, values in space.parameters.items()},
        tune_config=TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=space.trials,
            reuse_actors=True,  # a process that has imported torch runs the next trial
            time_budget_s=None if space.minutes is None else space.minutes * 60,
            search_alg=BasicVariantGenerator(points_to_evaluate=[plan.first], random_state=plan.seed),
            scheduler=AsyncHyperBandScheduler(
                time_attr=EPOCH,
                max_t=plan.max_epochs,
                grace_period=min(space.grace_epochs, plan.max_epochs),
                reduction_factor=space.reduction,
            ),
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.absolute()),
            failure_config=FailureConfig(max_failures=0),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=[_ForwardEvents()],
            verbose=0,
        ),
    )


def _restored(folder: Path, trainable: Any) -> Tuner:
    try:
        return Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
    except Exception as error:
        raise UserError(
            f"{folder}: holds a search that cannot be resumed; remove it or give another --name."
        ) from error


class _Active:
    """The callback of this process. Ray pickles its own callbacks with the search, so they must not hold it."""

    callback: SearchCallback | None = None


_ACTIVE = _Active()


class _ForwardEvents(Callback):
    """Forwards the events of Ray Tune to the callback of this process."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _ACTIVE.callback is not None:
            _ACTIVE.callback.on_trial_start(trial.trial_id, dict(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if _ACTIVE.callback is not None and METRIC in result:
            metrics = {name: value for name, value in result.items() if name.startswith(("val_", "train_"))}
            _ACTIVE.callback.on_epoch_end(trial.trial_id, int(result[EPOCH]) - 1, metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _ACTIVE.callback is not None:
            _ACTIVE.callback.on_trial_end(trial.trial_id, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _ACTIVE.callback is not None:
            _ACTIVE.callback.on_trial_end(trial.trial_id, failed=True)


def _trial(values: dict[str, Any], train: Callable[[dict[str, Any], Report], None]) -> None:
    """Runs in the process of a trial."""
    train(values, ray.tune.report)


def _fit_interruptibly(tuner: Tuner) -> Any:
    """Run the search in a thread: in the main thread Ray Tune handles Ctrl-C itself, saves and reports success."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(tuner.fit())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _distribution(values: Values) -> Any:
    if values.choice is not None:
        return ray.tune.choice(values.choice)
    if values.uniform is not None:
        return ray.tune.uniform(*values.uniform)
    if values.log is not None:
        return ray.tune.loguniform(*values.log)
    low, high = values.extremes
    return ray.tune.randint(low, high + 1)


def _as_trial(result: Any) -> Trial:
    frame = result.metrics_dataframe
    scores = [] if frame is None or METRIC not in frame else frame[METRIC].dropna().tolist()
    return Trial(dict(result.config or {}), max(scores, default=None))
