"""A search in MLflow: one parent run, under it a run for each trial, none twice however often the search goes on."""

from typing import Any

from sctransformer.params import Params
from sctransformer.tracking import outbox, runs
from sctransformer.tuning.space import SearchSpace

EXPERIMENT = "tuning"
SEARCH_TAG, TRIAL_TAG = "tuning.folder", "tuning.trial"


class SearchRecord:
    """The runs of one search.

    Args:
        name: of the search.
        folder: where it keeps its state; by it the parent run is found again.
        space: what is searched.
        params: all parameters, those that are searched included.
    """

    def __init__(self, name: str, folder: str, space: SearchSpace, params: Params) -> None:
        found = runs.find_runs(EXPERIMENT, {SEARCH_TAG: folder})
        if found:
            self.parent = found[-1].run_id
            runs.reopen_run(self.parent)
        else:
            content = {"space": space.model_dump(mode="json", exclude_unset=True), **params.model_dump(mode="json")}
            self.parent = runs.start_run(EXPERIMENT, name, content, {SEARCH_TAG: folder})
        self._folder = folder
        self._runs = {
            run.tags[TRIAL_TAG]: run.run_id for run in runs.find_runs(EXPERIMENT, {runs.PARENT_TAG: self.parent})
        }
        self._best: dict[str, float] = {}

    def started(self, trial: str, values: dict[str, Any]) -> None:
        """Open the run of a trial, or open it again."""
        if trial in self._runs:
            runs.reopen_run(self._runs[trial])
            return
        tags = {runs.PARENT_TAG: self.parent, TRIAL_TAG: trial}
        self._runs[trial] = runs.start_run(EXPERIMENT, f"trial {len(self._runs) + 1}", values, tags)

    def reported(self, trial: str, epoch: int, figures: dict[str, float]) -> None:
        """Log an epoch of a trial."""
        self._best[trial] = max(self._best.get(trial, -1.0), figures["val_macro_f1"])
        outbox.log_epoch(self._runs[trial], epoch, figures)

    def ended(self, trial: str, error: bool) -> None:
        """Close the run of a trial."""
        number = list(self._runs).index(trial) + 1
        if trial in self._best:
            outbox.log_metrics(self._runs[trial], {"best_val_macro_f1": self._best[trial]})
            print(f"trial {number}: validation macro-F1 {self._best[trial]:.3f}", flush=True)
        else:
            print(f"trial {number} failed; its log is under {self._folder}", flush=True)
        outbox.finish_run(self._runs[trial], "FAILED" if error else "FINISHED")

    def close(self, status: runs.Status, best: float | None = None) -> None:
        """Close the parent, and trials that were under way."""
        for run in runs.find_runs(EXPERIMENT, {runs.PARENT_TAG: self.parent}):
            if run.status == "RUNNING":
                outbox.finish_run(run.run_id, "KILLED")
        if best is not None:
            outbox.log_metrics(self.parent, {"best_val_macro_f1": best})
        outbox.finish_run(self.parent, status)
