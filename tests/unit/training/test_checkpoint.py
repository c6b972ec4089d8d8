"""Checkpoints: written and read without change, and refused by other runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.prior.bias import allowed_pairs, mask_bias, signed_weights
from sctransformer.training.checkpoint import (
    PROGRESS,
    Checkpoint,
    TrainingProgress,
    load_checkpoint,
    require_same_run,
    save_checkpoint,
)
from sctransformer.training.classification import Classification
from sctransformer.training.config import TrainConfig
from sctransformer.training.trainer import Trainer
from tests.conftest import EDGES, GENES, arrays, expression, simulated_cells, small_model
from tests.unit.training.training_runs import PRETRAINED, assert_same_weights, trained


@pytest.fixture(scope="module")
def checkpoints() -> list[Checkpoint]:
    """Checkpoints of three epochs of pretraining and four of classification."""
    return trained(PRETRAINED).checkpoints


def changed_model(network: list[tuple[str, str]] = EDGES, statistics: int = 0, **sizes: Any) -> PriorBiasedTransformer:
    """`small_model` with other network, statistics or sizes."""
    sizes = {"n_genes": 24, "n_regulators": 4, "n_classes": 3, "width": 8, "depth": 2, "heads": 2, "feedforward": 8,
             "readout_heads": 2, "embedding": 8} | sizes  # fmt: skip
    config = ModelConfig(**sizes)
    genes = GENES[: config.n_genes]
    prior_HGS = mask_bias(allowed_pairs(network, genes, config.n_regulators))
    if config.mode == "bias":
        edges = {"regulator": [pair[0] for pair in network], "target": [pair[1] for pair in network]}
        edges |= {"sign": [1] * len(network), "confidence": [1.0] * len(network)}
        prior_HGS = signed_weights(edges, genes, config.n_regulators, config.heads)
    torch.manual_seed(PRETRAINED.seed)
    model = PriorBiasedTransformer(config, torch.from_numpy(prior_HGS))
    expression_NG = expression(arrays(simulated_cells(seed=statistics)))[:, : config.n_genes]
    model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
    return model


@pytest.mark.parametrize("epochs_before", [1, 3, 5])
def test_a_checkpoint_is_read_as_written(checkpoints: list[Checkpoint], epochs_before: int, tmp_path: Path) -> None:
    state = checkpoints[epochs_before - 1]
    save_checkpoint(state, tmp_path)
    back = load_checkpoint(tmp_path)
    for name in ("weights", "best", "optimizer", "decoder"):
        assert_same_weights(getattr(back, name), getattr(state, name))
    assert back.progress == state.progress
    assert back.run_config == json.loads(json.dumps(state.run_config))
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".safetensors", ".json")]


def test_later_steps_do_not_change_a_checkpoint(checkpoints: list[Checkpoint]) -> None:
    """The tensors of a checkpoint are copies, and resuming does not change them."""
    before = {name: tensor.clone() for name, tensor in checkpoints[3].optimizer.items()}
    again = trained(PRETRAINED, resume=checkpoints[3]).checkpoints[0]
    assert_same_weights(checkpoints[3].optimizer, before)
    assert_same_weights(again.weights, checkpoints[4].weights)
    assert not torch.equal(checkpoints[3].weights["classifier.weight"], checkpoints[4].weights["classifier.weight"])


def test_progress_before_the_first_epoch_is_written_and_read(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    """The best loss is infinite then."""
    save_checkpoint(replace(checkpoints[0], progress=TrainingProgress()), tmp_path)
    assert load_checkpoint(tmp_path).progress == TrainingProgress()


def test_the_same_run_is_accepted(checkpoints: list[Checkpoint]) -> None:
    for state in checkpoints:
        require_same_run(state, changed_model(), PRETRAINED)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"n_genes": 23}, "the checkpoint has model.n_genes 24 and this run 23"),
        ({"n_regulators": 3}, "the checkpoint has model.n_regulators 4 and this run 3"),
        ({"statistics": 1}, "tokens.mean_G differs from this model's: it belongs to other genes, other cells"),
        ({"network": EDGES[:-1]}, "prior_HQS .*another prior"),
        ({"network": [*EDGES[:-1], ("GENE0", "GENE5")]}, "prior_HQS .*another prior"),
        ({"mode": "bias"}, "the checkpoint has model.mode 'mask' and this run 'bias'"),
        ({"mode": "dense"}, "the checkpoint has model.mode 'mask' and this run 'dense'"),
        ({"n_classes": 4}, "the checkpoint has model.n_classes 3 and this run 4"),
        ({"depth": 1}, "the checkpoint has model.depth 2 and this run 1"),
        ({"embedding": 16}, "the checkpoint has model.embedding 8 and this run 16"),
    ],
)
@pytest.mark.parametrize("epochs_before", [2, 5])
def test_a_checkpoint_of_another_model_is_refused(
    checkpoints: list[Checkpoint], epochs_before: int, model: dict[str, Any], message: str
) -> None:
    """The trainer refuses it before the first step, in one sentence, and does not change the model."""
    cells, other = arrays(simulated_cells()), changed_model(**model)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        Trainer(other, TrainingCells(cells, cells), PRETRAINED).fit(resume=checkpoints[epochs_before - 1])
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "start a new run" in sentence
    assert_same_weights(other.state_dict(), before)


@pytest.mark.parametrize(
    ("changed", "epochs_before", "message"),
    [
        ({"seed": 4}, 2, "train.seed 3 and this run 4"),
        ({"hidden_share": 0.2}, 2, "train.hidden_share 0.3 and this run 0.2"),
        ({"pretrain_lr": 0.5}, 3, "train.pretrain_lr 0.003 and this run 0.5"),
        ({"pretrain_epochs": 4}, 3, "train.pretrain_epochs 3 and this run 4"),
        ({"start": "random"}, 3, "train.start 'principal' and this run 'random'"),
        ({"lr": 0.5}, 4, "train.lr 0.01 and this run 0.5"),
        ({"head_penalty": 2.0}, 4, "train.head_penalty 0.1 and this run 2.0"),
        ({"min_steps": 100}, 4, "train.min_steps 0 and this run 100"),
        ({"finetune": "frozen"}, 4, "train.finetune 'all' and this run 'frozen'"),
        ({"pretrain_epochs": 0}, 4, "train.pretrain_epochs 3 and this run 0"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused(
    checkpoints: list[Checkpoint], changed: dict[str, Any], epochs_before: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        require_same_run(checkpoints[epochs_before - 1], changed_model(), PRETRAINED.replace(**changed))


@pytest.mark.parametrize(
    "changed", [{"lr": 0.5}, {"finetune": "frozen"}, {"epochs": 2, "min_steps": 50, "patience": 3}]
)
def test_one_pretraining_can_be_fine_tuned_in_several_ways(
    checkpoints: list[Checkpoint], changed: dict[str, Any]
) -> None:
    """With the result of a whole run that includes pretraining."""
    config: TrainConfig = PRETRAINED.replace(**changed)
    assert_same_weights(trained(config, resume=checkpoints[2]).weights, trained(config).weights)


def test_a_checkpoint_without_a_parameter_is_refused(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    save_checkpoint(checkpoints[4], tmp_path)
    content = json.loads((tmp_path / PROGRESS).read_text())
    del content["made_with"]["train"]["head_penalty"]
    (tmp_path / PROGRESS).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"train\.head_penalty None and this run 0\.1"):
        require_same_run(load_checkpoint(tmp_path), changed_model(), PRETRAINED)


def test_weights_of_another_shape_are_refused(checkpoints: list[Checkpoint]) -> None:
    state = checkpoints[4]
    fewer = {name: tensor for name, tensor in state.weights.items() if name != "readout.score_GD"}
    with pytest.raises(UserError, match=r"tensor readout.score_GD has shape none and this model's \(24, 8\)"):
        require_same_run(replace(state, weights=fewer), changed_model(), PRETRAINED)
    more = state.weights | {"readout.more": torch.zeros(2)}
    with pytest.raises(UserError, match=r"tensor readout.more has shape \(2,\) and this model's none"):
        require_same_run(replace(state, weights=more), changed_model(), PRETRAINED)


def test_the_model_of_these_tests_is_small_model() -> None:
    assert_same_weights(small_model(PRETRAINED.seed).state_dict(), changed_model().state_dict())


def test_the_optimizer_of_older_checkpoints_is_read(checkpoints: list[Checkpoint]) -> None:
    """They number the parameters in the order of the optimizer."""
    model = small_model(PRETRAINED.seed)
    groups = Classification(model, arrays(simulated_cells()), None, PRETRAINED).parameter_groups()
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    names = [name_of[id(parameter)] for group in groups for parameter in group["params"]]
    state = checkpoints[4]
    numbered = {
        f"{names.index(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": tensor
        for key, tensor in state.optimizer.items()
    }
    resumed = trained(PRETRAINED, resume=replace(state, optimizer=numbered))
    assert_same_weights(resumed.checkpoints[-1].weights, checkpoints[-1].weights)
