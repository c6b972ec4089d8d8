"""params.yaml is what the code's defaults say, and a wrong parameter is named."""

from pathlib import Path

import pytest
import yaml

from sctransformer.errors import UserError
from sctransformer.params import Params, load_params, with_overrides

ROOT = Path(__file__).parents[2]


def test_the_committed_parameters_are_the_defaults() -> None:
    """One truth in two places is kept one by this test: defaults that work, and a file that shows them all."""
    assert load_params(ROOT / "params.yaml") == Params()


def test_params_yaml_shows_every_parameter() -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert content == Params().model_dump(mode="json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: {lr: -1}", r"parameter train\.lr is -1: Input should be greater than 0"),
        ("train: {learning_rate: 1}", r"parameter train\.learning_rate"),
        ("model: {mode: magic}", r"parameter model\.mode is 'magic'"),
        ("prior: {confidence: {high: 1.5}}", r"parameter prior\.confidence\.high is 1\.5"),
        ("seed: [1", "is not valid YAML"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_params(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run from the project's folder"):
        load_params(tmp_path / "params.yaml")


def test_overrides_set_any_parameter() -> None:
    params = with_overrides(Params(), ["train.epochs=3", "prepare.gene_budget=64", "model.mode=dense"])
    assert (params.train.epochs, params.prepare.gene_budget, params.model.mode) == (3, 64, "dense")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs", r"expected section\.name=value"),
        ("train.epoch=3", r"train\.epoch: is not a parameter of params\.yaml"),
        ("seed=3", "seed: is not a parameter"),
        ("train.epochs=0", r"train\.epochs is 0"),
    ],
)
def test_wrong_overrides_are_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_overrides(Params(), [word])
