"""A checkpoint comes back as it was, and one of another run is refused in one sentence before anything is trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sctransformer.errors import UserError
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.prior.bias import allowed_pairs, mask_bias, signed_weights
from sctransformer.training.checkpoint import (
    PROGRESS,
    Checkpoint,
    Progress,
    load_checkpoint,
    require_same_run,
    save_checkpoint,
)
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import fit
from tests.conftest import EDGES, GENES, arrays, expression, simulated_cells, small_model
from tests.unit.training.training_runs import PRETRAINED, assert_same_weights, trained


@pytest.fixture(scope="module")
def checkpoints() -> list[Checkpoint]:
    """Of three epochs of pretraining and four of classification."""
    return trained(PRETRAINED).checkpoints


def changed_model(network: list[tuple[str, str]] = EDGES, statistics: int = 0, **sizes: Any) -> PriorBiasedTransformer:
    """As `small_model`, but for what is named."""
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
def test_a_checkpoint_comes_back_as_it_was(checkpoints: list[Checkpoint], epochs_before: int, tmp_path: Path) -> None:
    state = checkpoints[epochs_before - 1]
    save_checkpoint(state, tmp_path)
    back = load_checkpoint(tmp_path)
    for name in ("weights", "best", "optimizer", "decoder"):
        assert_same_weights(getattr(back, name), getattr(state, name))
    assert back.progress == state.progress
    assert back.made_with == json.loads(json.dumps(state.made_with))
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".safetensors", ".json")]


def test_a_checkpoint_is_kept_as_it_was_while_training_goes_on(checkpoints: list[Checkpoint]) -> None:
    """The tensors are copies: later steps do not reach into what was handed out before."""
    again = trained(PRETRAINED, resume=checkpoints[3]).checkpoints[0]
    assert_same_weights(again.weights, checkpoints[4].weights)
    assert not torch.equal(checkpoints[3].weights["classifier.weight"], checkpoints[4].weights["classifier.weight"])


def test_progress_before_the_first_epoch_is_written_and_read(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    """An infinite loss stands for none."""
    save_checkpoint(replace(checkpoints[0], progress=Progress()), tmp_path)
    assert load_checkpoint(tmp_path).progress == Progress()


def test_the_same_run_is_accepted(checkpoints: list[Checkpoint]) -> None:
    for state in checkpoints:
        require_same_run(state, changed_model(), PRETRAINED)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"n_genes": 23}, "made with model.n_genes 24 and this run has 23"),
        ({"n_regulators": 3}, "made with model.n_regulators 4 and this run has 3"),
        ({"statistics": 1}, "tokens.mean_G is not that of this model: it belongs to other genes, other cells"),
        ({"network": EDGES[:-1]}, "prior_HQS .*another prior"),
        ({"network": [*EDGES[:-1], ("GENE0", "GENE5")]}, "prior_HQS .*another prior"),
        ({"mode": "bias"}, "made with model.mode 'mask' and this run has 'bias'"),
        ({"mode": "dense"}, "made with model.mode 'mask' and this run has 'dense'"),
        ({"n_classes": 4}, "made with model.n_classes 3 and this run has 4"),
        ({"depth": 1}, "made with model.depth 2 and this run has 1"),
        ({"embedding": 16}, "made with model.embedding 8 and this run has 16"),
    ],
)
@pytest.mark.parametrize("epochs_before", [2, 5])
def test_a_checkpoint_of_another_model_is_refused(
    checkpoints: list[Checkpoint], epochs_before: int, model: dict[str, Any], message: str
) -> None:
    """Before the first step, by the loop itself, in one sentence."""
    cells, other = arrays(simulated_cells()), changed_model(**model)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(UserError, match=message) as caught:
        fit(other, cells, cells, PRETRAINED, lambda report, state: None, resume=checkpoints[epochs_before - 1])
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "train anew" in sentence
    assert_same_weights(other.state_dict(), before)


@pytest.mark.parametrize(
    ("changed", "epochs_before", "message"),
    [
        ({"seed": 4}, 2, "train.seed 3 and this run has 4"),
        ({"hidden_share": 0.2}, 2, "train.hidden_share 0.3 and this run has 0.2"),
        ({"pretrain_lr": 0.5}, 3, "train.pretrain_lr 0.003 and this run has 0.5"),
        ({"pretrain_epochs": 4}, 3, "train.pretrain_epochs 3 and this run has 4"),
        ({"start": "random"}, 3, "train.start 'principal' and this run has 'random'"),
        ({"lr": 0.5}, 4, "train.lr 0.01 and this run has 0.5"),
        ({"head_penalty": 2.0}, 4, "train.head_penalty 0.1 and this run has 2.0"),
        ({"min_steps": 100}, 4, "train.min_steps 0 and this run has 100"),
        ({"finetune": "frozen"}, 4, "train.finetune 'all' and this run has 'frozen'"),
        ({"pretrain_epochs": 0}, 4, "train.pretrain_epochs 3 and this run has 0"),
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
def test_fine_tunings_of_every_kind_go_on_from_one_pretraining(
    checkpoints: list[Checkpoint], changed: dict[str, Any]
) -> None:
    """They end where a run of their own, pretraining included, ends."""
    config: TrainConfig = PRETRAINED.replace(**changed)
    assert_same_weights(trained(config, resume=checkpoints[2]).weights, trained(config).weights)


def test_a_checkpoint_of_a_version_that_knew_less_is_refused(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    save_checkpoint(checkpoints[4], tmp_path)
    content = json.loads((tmp_path / PROGRESS).read_text())
    del content["made_with"]["train"]["head_penalty"]
    (tmp_path / PROGRESS).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"train\.head_penalty None and this run has 0\.1"):
        require_same_run(load_checkpoint(tmp_path), changed_model(), PRETRAINED)


def test_weights_of_another_form_are_refused(checkpoints: list[Checkpoint]) -> None:
    state = checkpoints[4]
    fewer = {name: tensor for name, tensor in state.weights.items() if name != "readout.score_GD"}
    with pytest.raises(UserError, match=r"tensor readout.score_GD has the shape none and this model's \(24, 8\)"):
        require_same_run(replace(state, weights=fewer), changed_model(), PRETRAINED)
    more = state.weights | {"readout.more": torch.zeros(2)}
    with pytest.raises(UserError, match=r"tensor readout.more has the shape \(2,\) and this model's none"):
        require_same_run(replace(state, weights=more), changed_model(), PRETRAINED)


def test_small_model_and_the_model_of_these_tests_are_one() -> None:
    assert_same_weights(small_model(PRETRAINED.seed).state_dict(), changed_model().state_dict())
