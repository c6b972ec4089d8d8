"""The search on Ray Tune: it goes on where it was killed, stops what does worse, and keeps to its space."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sctransformer.tuning.search import TIME, Report, Trial, search
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


class Journal:
    """Writes what becomes of trials to a file; kills this process when so many have ended."""

    def __init__(self, file: Path, kill_after: int | None = None) -> None:
        self.file, self.kill_after, self.over = file, kill_after, 0

    def _write(self, *what: Any) -> None:
        with self.file.open("a") as stream:
            stream.write(json.dumps(what) + "\n")

    def started(self, trial: str, values: dict[str, Any]) -> None:
        """A trial begins."""
        self._write("started", trial, values)

    def reported(self, trial: str, epoch: int, figures: dict[str, float]) -> None:
        """A trial has ended an epoch."""
        self._write("reported", trial, epoch, figures["val_macro_f1"])

    def ended(self, trial: str, error: bool) -> None:
        """A trial is over."""
        self._write("ended", trial, error)
        self.over += 1
        if self.over == self.kill_after:
            signal.raise_signal(signal.SIGKILL)


def toy(values: dict[str, Any], report: Report) -> None:
    """The larger the learning rate the better; `bias` fails."""
    if values["model.mode"] == "bias":
        raise ValueError("this trial fails")
    for epoch in range(EPOCHS):
        time.sleep(0.5)  # what is over is noted once a second
        report({TIME: epoch + 1, "val_macro_f1": values["train.lr"] * 50 + epoch / 1000, "val_loss": 1.0})


def run_search(folder: Path, journal: Journal) -> list[Trial]:
    return search(toy, SPACE, FIRST, EPOCHS, 0, folder, journal, [Path(__file__).parents[1]])


def test_a_search_that_was_killed_goes_on(tmp_path: Path) -> None:
    folder, file = tmp_path / "search", tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from tests.integration.test_search import Journal, run_search; "
        "run_search(Path(sys.argv[1]), Journal(Path(sys.argv[2]), kill_after=4))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(file)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = [json.loads(line) for line in file.read_text().splitlines()]
    over = {line[1] for line in before if line[0] == "ended"}
    assert len(over) == 4
    found = run_search(folder, Journal(file))
    after = [json.loads(line) for line in file.read_text().splitlines()][len(before) :]
    assert len(found) == SPACE.trials
    assert {json.dumps(trial.values) for trial in found} >= {json.dumps(FIRST)}
    first_over = next(line[1] for line in before if line[0] == "ended" and not line[2])
    assert first_over not in {line[1] for line in after}  # what was over is not computed again
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
