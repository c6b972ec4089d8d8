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
        ("[]", "expected `name: value` lines at the top, found a list"),
        ("train: {epoch: 3}", r"train\.epoch is unknown; the most similar name is train\.epochs\."),
        ("validation: {}", "validation is unknown; the most similar name is validate"),
        ("registration: {name: x}", "registration is unknown"),
        ("train: {count: 3}", r"train\.count is unknown"),
        ("train: {lr: .inf}", r"train\.lr is inf: Input should be a finite number"),
        ("train: {epochs: true}", r"train\.epochs is True: expected a number"),
        ("train: {epochs: 99999999999}", r"train\.epochs is 99999999999: expected an integer of at most 2147483647"),
        ("train: {lr: 1.0e+30}", r"train\.lr is 1e\+30: expected a number of at most"),
        ("train: {workers: 2, min_workers: 4}", r"min_workers is 4; expected at most workers \(2\)"),
        ("prepare: {test_fraction: 0.9}", "leave nothing to train on; their sum must be under 1"),
        ("data: {cells: ''}", r"data\.cells is '': expected text that is not empty"),
        ("data: {cells: .}", r"data\.cells: is '\.'; expected the path of a file"),
        ("train: {storage: ''}", r"train\.storage is ''"),
        ("prior: {confidence: {hgh: 1}}", "has the level 'hgh'; expected high, medium, low"),
        ("[" * 1000, "is nested too deeply"),
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
    params = with_overrides(Params(), ["train.epochs=3", "prepare.gene_budget=64", "model.mode=dense", "seed=7"])
    assert (params.train.epochs, params.prepare.gene_budget, params.model.mode, params.seed) == (3, 64, "dense", 7)
    assert with_overrides(Params(), ["train.workers=4", "prior.confidence.low=0.1"]).prior.confidence["low"] == 0.1
    assert with_overrides(Params(), ["train.lr=3e-4", "train.lr=2e-4"]).train.lr == 2e-4


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs", r"expected name=value"),
        (
            "train.epoch=3",
            r"train\.epoch: is not a parameter of params\.yaml; the most similar name is train\.epochs\.",
        ),
        ("training.lr=3", r"the most similar name is train\.lr\."),
        ("sead=3", r"the most similar name is seed\."),
        ("train.epochs=[", r"train\.epochs=\[: the value '\[' is not valid YAML"),
        ("train=3", "train: is a section of params.yaml"),
        ("train.lr=fast", r"train\.lr is 'fast'"),
        ("validation.min_cells=3", r"validation\.min_cells: is not a parameter.*name is validate\.min_cells\."),
        ("train.epochs=0", r"train\.epochs is 0"),
    ],
)
def test_wrong_overrides_are_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_overrides(Params(), [word])
