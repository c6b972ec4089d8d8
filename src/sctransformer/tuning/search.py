"""Search on Ray Tune: trials, early stopping, budget, going on after an interruption."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the caller shows what happens
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")  # how often it is noted which trials are over

import ray.tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from sctransformer.errors import UserError
from sctransformer.training.ray_connection import connection  # before ray is imported
from sctransformer.tuning.space import SearchSpace, Values

METRIC = "val_macro_f1"
"""By which trials are judged: the best epoch of each counts."""
TIME = "supervised_epochs"
"""By which they are compared: pretraining counts for nothing."""

Report = Callable[[dict[str, float]], None]
"""Called by a trial after each epoch; the trial may be ended in it."""


class Watcher(Protocol):
    """Hears in the calling process what becomes of trials."""

    def started(self, trial: str, values: dict[str, Any]) -> None:
        """A trial begins, or begins again after an interruption."""

    def reported(self, trial: str, epoch: int, figures: dict[str, float]) -> None:
        """A trial has ended an epoch."""

    def ended(self, trial: str, error: bool) -> None:
        """A trial is over, stopped early or not, or has failed."""


@dataclass(frozen=True)
class Trial:
    """What came of a trial."""

    values: dict[str, Any]
    score: float | None
    """Best validation macro-F1; None if it failed or never came so far."""


def search(
    train: Callable[[dict[str, Any], Report], None],
    space: SearchSpace,
    first: dict[str, Any],
    epochs: int,
    seed: int,
    folder: Path,
    watcher: Watcher,
    code: Sequence[Path] = (),
) -> list[Trial]:
    """Run trials until the budget is spent.

    Args:
        train: one trial, from its values; runs in a process of its own with one CPU.
        space: what is searched, and the budget.
        first: values of the first trial.
        epochs: most epochs of classification.
        seed: of the values drawn.
        folder: of this search; if it is there, the search goes on: trials that ended stay, others begin again.
        watcher: hears of it.
        code: folders of packages that are shipped to a cluster beside sctransformer.

    Raises:
        UserError: the folder holds no search that can go on.
    """
    with connection(code=code):
        trainable = ray.tune.with_resources(ray.tune.with_parameters(_trial, train=train), {"cpu": 1})
        if (folder / "tuner.pkl").exists():
            try:
                tuner = Tuner.restore(str(folder), trainable, resume_unfinished=True, restart_errored=True)
            except Exception as error:
                raise UserError(
                    f"{folder}: holds no search that can go on; remove it or give another --name."
                ) from error
        else:
            tuner = Tuner(
                trainable,
                param_space={name: _distribution(values) for name, values in space.parameters.items()},
                tune_config=TuneConfig(
                    metric=METRIC,
                    mode="max",
                    num_samples=space.trials,
                    reuse_actors=True,  # a process that has torch imported takes the next trial
                    time_budget_s=None if space.minutes is None else space.minutes * 60,
                    search_alg=BasicVariantGenerator(points_to_evaluate=[first], random_state=seed),
                    scheduler=AsyncHyperBandScheduler(
                        time_attr=TIME,
                        max_t=epochs,
                        grace_period=min(space.grace_epochs, epochs),
                        reduction_factor=space.reduction,
                    ),
                ),
                run_config=RunConfig(
                    name=folder.name,
                    storage_path=str(folder.parent.absolute()),
                    failure_config=FailureConfig(max_failures=0),
                    checkpoint_config=CheckpointConfig(num_to_keep=1),
                    callbacks=[_Telling()],
                    verbose=0,
                ),
            )
        _WATCHING.watcher = watcher
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is said once, by the watcher
        results = _results_of(tuner)
    return [_as_trial(result) for result in results]


class _Watching:
    """Ray pickles callbacks with the state of a search; what they tell is not part of it."""

    watcher: Watcher | None = None


_WATCHING = _Watching()


class _Telling(Callback):
    """Tells the watcher of this process."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _WATCHING.watcher is not None:
            _WATCHING.watcher.started(trial.trial_id, dict(trial.config))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if _WATCHING.watcher is not None and METRIC in result:
            figures = {name: value for name, value in result.items() if name.startswith(("val_", "train_"))}
            _WATCHING.watcher.reported(trial.trial_id, int(result[TIME]) - 1, figures)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _WATCHING.watcher is not None:
            _WATCHING.watcher.ended(trial.trial_id, error=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _WATCHING.watcher is not None:
            _WATCHING.watcher.ended(trial.trial_id, error=True)


def _trial(values: dict[str, Any], train: Callable[[dict[str, Any], Report], None]) -> None:
    """Runs in the process of a trial."""
    train(values, ray.tune.report)


def _results_of(tuner: Tuner) -> Any:
    """The results, with Ctrl-C heard in this thread: Tune would take it for a wish to save and end well."""
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
