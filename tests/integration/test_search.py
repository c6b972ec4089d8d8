"""Search on Ray Tune: resumed after a kill, early stopping, values within the search space."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sctransformer.tuning.search import EPOCH, Report, SearchPlan, Trial, search
from sctransformer.tuning.space import SearchSpace

pytestmark = pytest.mark.slow

SPACE = SearchSpace.model_validate(
    {
        "trials": 6,
        "grace_epochs": 1,
        "reduction": 2,
        "parameters": {"train.lr": {"log": [1e-4, 1e-2]}, "model.mode": {"choice": ["mask", "bias"]}},
    }
)
FIRST = {"train.lr": 1e-3, "model.mode": "mask"}
EPOCHS = 4
PLAN = SearchPlan(SPACE, FIRST, EPOCHS)


class Journal:
    """Writes the events of a search to a file; kills this process after a number of finished trials."""

    def __init__(self, file: Path, kill_after: int | None = None) -> None:
        self.file, self.kill_after, self.finished = file, kill_after, 0

    def _write(self, *what: Any) -> None:
        with self.file.open("a") as stream:
            stream.write(json.dumps(what) + "\n")

    def on_trial_start(self, trial_id: str, values: dict[str, Any]) -> None:
        """Write the values of a trial."""
        self._write("started", trial_id, values)

    def on_epoch_end(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """Write the score of an epoch."""
        self._write("reported", trial_id, epoch, metrics["val_macro_f1"])

    def on_trial_end(self, trial_id: str, failed: bool) -> None:
        """Write how a trial ended."""
        self._write("ended", trial_id, failed)
        self.finished += 1
        if self.finished == self.kill_after:
            signal.raise_signal(signal.SIGKILL)


def toy(values: dict[str, Any], report: Report) -> None:
    """The larger the learning rate the better; `bias` fails."""
    if values["model.mode"] == "bias":
        raise ValueError("this trial fails")
    for epoch in range(EPOCHS):
        time.sleep(0.5)  # finished trials are recorded once per second
        report({EPOCH: epoch + 1, "val_macro_f1": values["train.lr"] * 50 + epoch / 1000, "val_loss": 1.0})


def run_search(folder: Path, journal: Journal) -> list[Trial]:
    return search(toy, PLAN, folder, journal, [Path(__file__).parents[1]])


def test_a_killed_search_is_resumed(tmp_path: Path) -> None:
    folder, file = tmp_path / "search", tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from tests.integration.test_search import Journal, run_search; "
        "run_search(Path(sys.argv[1]), Journal(Path(sys.argv[2]), kill_after=4))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(file)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = [json.loads(line) for line in file.read_text().splitlines()]
    finished = {line[1] for line in before if line[0] == "ended"}
    assert len(finished) == 4
    found = run_search(folder, Journal(file))
    after = [json.loads(line) for line in file.read_text().splitlines()][len(before) :]
    assert len(found) == SPACE.trials
    assert {json.dumps(trial.values) for trial in found} >= {json.dumps(FIRST)}
    first_finished = next(line[1] for line in before if line[0] == "ended" and not line[2])
    assert first_finished not in {line[1] for line in after}  # finished trials are not run again
    for trial in found:
        lr, mode = trial.values["train.lr"], trial.values["model.mode"]
        assert 1e-4 <= lr <= 1e-2
        assert mode in ("mask", "bias")
        if mode == "bias":
            assert trial.score is None
        else:
            assert trial.score is not None
            assert lr * 50 <= trial.score <= lr * 50 + (EPOCHS - 1) / 1000 + 1e-9
    good = [trial for trial in found if trial.score is not None]
    assert max(good, key=lambda trial: trial.score or 0).score == pytest.approx(
        max(trial.values["train.lr"] for trial in good) * 50 + (EPOCHS - 1) / 1000
    )
