"""Execution settings: the result of training stays the same within their tolerance."""

import shutil
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sctransformer.training.batches import Corruption, batches
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.classification import Classification
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.execution import Execution
from sctransformer.typed_yaml import first_problem
from tests.conftest import arrays, simulated_cells, small_model
from tests.unit.training.training_runs import BASE, FROZEN, PRETRAINED, trained


def last_checkpoint(config: TrainConfig, execution: Execution) -> Checkpoint:
    """The last checkpoint of a run with other execution settings."""
    return trained(config, execution=execution).checkpoints[-1]


@pytest.mark.parametrize("config", [PRETRAINED, FROZEN], ids=["all", "frozen"])
@pytest.mark.parametrize("parts", [2, 5])
def test_gradient_accumulation_gives_the_same_weights(config: TrainConfig, parts: int) -> None:
    """The last batch has 26 cells, so parts have different sizes; pretraining counts hidden genes over the batch."""
    whole, in_parts = trained(config).checkpoints[-1], last_checkpoint(config, Execution(accumulate=parts))
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(in_parts.weights[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


@pytest.mark.parametrize("parts", [1, 3, 12])
def test_losses_of_the_parts_of_a_batch_add_up(parts: int) -> None:
    """Of twelve parts of ten cells two are padding."""
    model, cells = small_model(), arrays(simulated_cells(10))
    phase = Classification(model, cells, cells, BASE.replace(head_penalty=3.0))
    (batch,) = batches([cells], 10, Corruption(), (0,), ProcessGroup())
    device = torch.device("cpu")
    whole = phase.loss(phase.module, batch, device)
    pieces = list(batch.split(parts))
    assert len(pieces) == parts
    assert sum(float(piece.weight_N.sum()) for piece in pieces) == 10
    added = torch.stack([phase.loss(phase.module, piece, device) for piece in pieces]).sum()
    torch.testing.assert_close(added, whole)


def test_bfloat16_trains_as_well_with_weights_in_float32() -> None:
    whole, lower = trained(PRETRAINED).checkpoints[-1], last_checkpoint(PRETRAINED, Execution(precision="bfloat16"))
    assert {tensor.dtype for tensor in lower.weights.values()} == {torch.float32}
    assert any(not torch.equal(lower.weights[name], tensor) for name, tensor in whole.weights.items())
    assert lower.progress.best_macro_f1 > 0.9
    assert lower.history[-1]["val_loss"] == pytest.approx(whole.history[-1]["val_loss"], abs=0.05)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler for torch.compile")
def test_a_compiled_model_gives_the_same_weights() -> None:
    """With one layer, because compiling each takes long. The last batch of an epoch is smaller than the others."""
    config = BASE.replace(epochs=2)
    expected = trained(config, depth=1).checkpoints[-1]
    compiled = trained(config, execution=Execution(compiled=True), depth=1).checkpoints[-1]
    for name, tensor in expected.weights.items():
        torch.testing.assert_close(compiled.weights[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


def test_bfloat16_is_the_default_on_a_gpu_only() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert not Execution().autocast(cpu)._enabled
    assert Execution(precision="bfloat16").autocast(cpu)._enabled
    assert not Execution(precision="float32").autocast(cpu)._enabled
    if torch.cuda.is_available():
        assert Execution().autocast(gpu)._enabled


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"checkpoint_steps": -1}, "checkpoint_steps is -1"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"precision": "half"}, "precision is 'half': Input should be 'auto', 'float32' or 'bfloat16'"),
    ],
)
def test_invalid_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Execution(**changed)
    assert message in first_problem(caught.value)
