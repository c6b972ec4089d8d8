"""A loss curve as it was measured: a silent change of the numbers shows here.

After a change that is meant, write the curve anew: `python -m tests.golden.test_loss_curve`.
"""

import json
from pathlib import Path

import pytest

from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import fit
from tests.conftest import arrays, simulated_cells, small_model

CURVE = Path(__file__).with_name("loss_curve.json")


def measured_curve() -> dict[str, list[float]]:
    """Training and validation loss of each epoch of a small run."""
    train, validation = [], []
    fit(
        small_model(seed=11),
        arrays(simulated_cells()),
        arrays(simulated_cells(seed=1)),
        TrainConfig(seed=11, epochs=5, batch_size=32, lr=1e-2, gene_dropout=0.2),
        on_epoch=lambda report, state: (train.append(report.train_loss), validation.append(report.val_loss)),
    )
    return {"train_loss": train, "val_loss": validation}


def test_the_loss_curve_is_the_one_that_was_measured() -> None:
    """Processors differ in the last digits of float32, and training widens the difference: 0.1 % is allowed."""
    expected = json.loads(CURVE.read_text())
    for name, losses in measured_curve().items():
        assert losses == pytest.approx(expected[name], rel=1e-3), name


if __name__ == "__main__":
    CURVE.write_text(json.dumps(measured_curve(), indent=2) + "\n")
