"""Switches that say how a training is computed: the result stays the same, exactly or within what they promise."""

import shutil
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sctransformer.training.batches import batches
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import World
from sctransformer.training.execution import Execution
from sctransformer.training.loop import fit
from sctransformer.training.phases import Supervised
from sctransformer.typed_yaml import first_problem
from tests.conftest import arrays, simulated_cells, small_model
from tests.unit.training.training_runs import BASE, FROZEN, PRETRAINED, trained


def ended(config: TrainConfig, execution: Execution) -> Checkpoint:
    """The last checkpoint of a run of `training_runs.trained`, computed in another way."""
    states: list[Checkpoint] = []
    cells, validation = arrays(simulated_cells()), arrays(simulated_cells(seed=1))
    fit(
        small_model(config.seed),
        cells,
        validation,
        config,
        lambda report, state: states.append(state),
        execution=execution,
    )
    return states[-1]


@pytest.mark.parametrize("config", [PRETRAINED, FROZEN], ids=["all", "frozen"])
@pytest.mark.parametrize("parts", [2, 5])
def test_batches_in_parts_give_the_same_weights(config: TrainConfig, parts: int) -> None:
    """The last batch has 26 cells: parts of uneven size, and in pretraining hidden genes counted over the whole."""
    whole, in_parts = trained(config).checkpoints[-1], ended(config, Execution(accumulate=parts))
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(in_parts.weights[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


@pytest.mark.parametrize("parts", [1, 3, 12])
def test_objectives_of_parts_add_up(parts: int) -> None:
    """Twelve parts of ten cells: two are empty and count for nothing."""
    model, cells = small_model(), arrays(simulated_cells(10))
    phase = Supervised(model, cells, cells, BASE.replace(head_penalty=3.0))
    (batch,) = batches([cells], 10, 0.0, (0,), World())
    device = torch.device("cpu")
    whole = phase.loss(phase.module, batch, device)
    pieces = list(batch.split(parts))
    assert len(pieces) == parts
    assert sum(float(piece.weight_N.sum()) for piece in pieces) == 10
    added = torch.stack([phase.loss(phase.module, piece, device) for piece in pieces]).sum()
    torch.testing.assert_close(added, whole)


def test_bfloat16_learns_as_well_and_keeps_weights_in_float32() -> None:
    whole, lower = trained(PRETRAINED).checkpoints[-1], ended(PRETRAINED, Execution(precision="bfloat16"))
    assert {tensor.dtype for tensor in lower.weights.values()} == {torch.float32}
    assert any(not torch.equal(lower.weights[name], tensor) for name, tensor in whole.weights.items())
    assert lower.progress.best_macro_f1 > 0.9
    assert lower.history[-1]["val_loss"] == pytest.approx(whole.history[-1]["val_loss"], abs=0.05)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler for torch.compile")
def test_compiled_gives_the_same_weights() -> None:
    config = BASE.replace(epochs=2)
    whole, compiled = trained(config).checkpoints[-1], ended(config, Execution(compiled=True))
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(compiled.weights[name], tensor, atol=2e-4, rtol=2e-3, msg=name)


def test_a_gpu_computes_in_bfloat16_unless_told_otherwise() -> None:
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
def test_impossible_switches_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Execution(**changed)
    assert message in first_problem(caught.value)
