"""A search in MLflow: a parent run with one child run per trial, also after the search was resumed."""

from typing import Any

from sctransformer.params import Params
from sctransformer.tracking import outbox, queries, runs
from sctransformer.tuning.space import SearchSpace

EXPERIMENT = "tuning"
SEARCH_TAG, TRIAL_TAG = "tuning.folder", "tuning.trial"


class SearchRuns:
    """The runs of one search; a `sctransformer.tuning.search.SearchCallback`.

    Args:
        name: name of the search.
        folder: state of the search; a resumed search finds its parent run by it.
        space: the search space.
        params: all parameters.
    """

    def __init__(self, name: str, folder: str, space: SearchSpace, params: Params) -> None:
        found = queries.find_runs(EXPERIMENT, {SEARCH_TAG: folder})
        if found:
            self.parent = found[-1].run_id
            runs.reopen_run(self.parent)
        else:
            content = {"space": space.model_dump(mode="json", exclude_unset=True), **params.model_dump(mode="json")}
            self.parent = runs.start_run(EXPERIMENT, name, content, {SEARCH_TAG: folder})
        self._folder = folder
        self._runs = {
            run.tags[TRIAL_TAG]: run.run_id for run in queries.find_runs(EXPERIMENT, {runs.PARENT_TAG: self.parent})
        }
        self._best: dict[str, float] = {}

    def on_trial_start(self, trial_id: str, values: dict[str, Any]) -> None:
        """Start the run of a trial, or reopen it."""
        if trial_id in self._runs:
            runs.reopen_run(self._runs[trial_id])
            return
        tags = {runs.PARENT_TAG: self.parent, TRIAL_TAG: trial_id}
        self._runs[trial_id] = runs.start_run(EXPERIMENT, f"trial {len(self._runs) + 1}", values, tags)

    def on_epoch_end(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """Log an epoch of a trial."""
        self._best[trial_id] = max(self._best.get(trial_id, -1.0), metrics["val_macro_f1"])
        outbox.log_epoch(self._runs[trial_id], epoch, metrics)

    def on_trial_end(self, trial_id: str, failed: bool) -> None:
        """Finish the run of a trial."""
        number = list(self._runs).index(trial_id) + 1
        if trial_id in self._best:
            outbox.log_metrics(self._runs[trial_id], {"best_val_macro_f1": self._best[trial_id]})
            print(f"trial {number}: validation macro-F1 {self._best[trial_id]:.3f}", flush=True)
        else:
            print(f"trial {number} failed; its log is in {self._folder}", flush=True)
        outbox.finish_run(self._runs[trial_id], "FAILED" if failed else "FINISHED")

    def close(self, status: runs.Status, best: float | None = None) -> None:
        """Finish the parent run and the trials that were still running."""
        for run in queries.find_runs(EXPERIMENT, {runs.PARENT_TAG: self.parent}):
            if run.status == "RUNNING":
                outbox.finish_run(run.run_id, "KILLED")
        if best is not None:
            outbox.log_metrics(self.parent, {"best_val_macro_f1": best})
        outbox.finish_run(self.parent, status)
