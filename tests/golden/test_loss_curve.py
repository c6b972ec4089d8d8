"""A stored loss curve, which shows unintended changes of the numbers.

After an intended change, write it again: `python -m tests.golden.test_loss_curve`.
"""

import json
from pathlib import Path

import pytest

from sctransformer.data.arrays import TrainingCells
from sctransformer.training.config import TrainConfig
from sctransformer.training.trainer import Trainer
from tests.conftest import arrays, simulated_cells, small_model

CURVE = Path(__file__).with_name("loss_curve.json")


def measured_curve() -> dict[str, list[float]]:
    """Training and validation loss of each epoch of a small run."""
    cells = TrainingCells(arrays(simulated_cells()), arrays(simulated_cells(seed=1)))
    config = TrainConfig(seed=11, epochs=5, batch_size=32, lr=1e-2, gene_dropout=0.2)
    history = Trainer(small_model(seed=11), cells, config).fit().history
    return {name: [epoch[name] for epoch in history] for name in ("train_loss", "val_loss")}


def test_the_loss_curve_is_the_stored_one() -> None:
    """Processors differ in the last digits of float32, and training amplifies the difference: 0.1 % is allowed."""
    expected = json.loads(CURVE.read_text())
    for name, losses in measured_curve().items():
        assert losses == pytest.approx(expected[name], rel=1e-3), name


if __name__ == "__main__":
    CURVE.write_text(json.dumps(measured_curve(), indent=2) + "\n")
