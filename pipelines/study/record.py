"""A study in MLflow: a parent run with one child run per result, also after the study was resumed."""

import uuid
from pathlib import Path
from typing import Any

from pipelines.study.config import StudyConfig
from pipelines.study.grid import Task
from sctransformer.files import atomic_write
from sctransformer.tracking import queries, runs

EXPERIMENT = "study"
STUDY_TAG = "study.id"
"""Tag of the parent: ID of the study's folder."""
CELL_TAG = "study.cell"
"""Tag of a child: name and digest of the result. A renamed arm gets a new child run."""
STUDY_ID = "study_id"
"""File in the study's folder."""


class Record:
    """The runs of one study's folder.

    Existing runs are found in MLflow, so that a crash at any point leaves no duplicates: the parent by the ID of the
    folder, children by their digest. A child run that was not finished is deleted and written again.

    Raises:
        UserError: the tracking store cannot be used.
    """

    def __init__(self, study: StudyConfig, out: Path) -> None:
        own = _id_of(out)
        found = queries.find_runs(EXPERIMENT, {STUDY_TAG: own})
        if found:
            self.parent = found[0].run_id
            runs.reopen_run(self.parent)
        else:
            self.parent = runs.start_run(EXPERIMENT, study.name, study.model_dump(mode="json"), {STUDY_TAG: own})
        self._kept: set[str] = set()
        for child in queries.find_runs(EXPERIMENT, {runs.PARENT_TAG: self.parent}):
            if child.status == "FINISHED":
                self._kept.add(child.tags[CELL_TAG])
            else:
                runs.delete_run(child.run_id)

    def log(self, task: Task, result: dict[str, Any], search: list[list[float]] | None) -> None:
        """Log a result as a child run, unless it exists.

        Args:
            task: of kind arm or baseline.
            result: from `work.result_of`.
            search: validation scores of each point.
        """
        key = f"{task.name} {task.digest}"
        if key in self._kept:
            return
        params = {"name": task.name, "percent": task.percent, "seed": task.seed, "point": task.point}
        params |= result["settings"].get("params", {}) | result.get("chosen", {})
        tags = {runs.PARENT_TAG: self.parent, CELL_TAG: key, "study.kind": task.kind}
        run_id = runs.start_run(EXPERIMENT, task.label, params, tags)
        numbers = {name: value for name, value in result["figures"].items() if isinstance(value, (int, float))}
        metrics = {f"test_{name}": value for name, value in numbers.items() if name != "train_loss"}
        metrics["test_macro_f1_low"], metrics["test_macro_f1_high"] = result["figures"]["macro_f1_ci"]
        metrics |= {f"test_f1 {name}": own["f1"] for name, own in result["figures"]["per_class"].items()}
        metrics |= {f"seconds_{name}": value for name, value in result["seconds"].items()}
        if search is not None and len(search) > 1:
            metrics |= {f"search_{point}_macro_f1": sum(own) / len(own) for point, own in enumerate(search)}
        runs.log_metrics(run_id, metrics)
        runs.finish_run(run_id, "FINISHED")
        self._kept.add(key)

    def close(self, status: runs.Status, files: list[Path]) -> None:
        """Finish the parent run and attach files to it."""
        for file in files:
            runs.log_artifact(self.parent, file)
        runs.finish_run(self.parent, status)


def _id_of(out: Path) -> str:
    file = out / STUDY_ID
    if not file.is_file():
        with atomic_write(file) as temporary:
            temporary.write_text(uuid.uuid4().hex)
    return file.read_text().strip()
