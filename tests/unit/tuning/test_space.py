"""Search spaces: the default one is valid, and invalid ones are refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sctransformer.errors import UserError
from sctransformer.params import Params, with_values
from sctransformer.tuning.space import DEFAULT_SPACE, current_values, load_space


def test_the_default_space_is_valid() -> None:
    """The lower ends of all ranges together are valid parameters, and so are the upper ends."""
    params = Params()
    space = load_space(DEFAULT_SPACE, params)
    assert set(current_values(space, params)) == set(space.parameters)
    for end in (0, -1):
        with_values(params, {name: values.extremes[end] for name, values in space.parameters.items()})


def test_values_are_checked_apart_from_one_another(tmp_path: Path) -> None:
    """Eight heads do not divide the current width of 12, but the space also has a width of 16."""
    file = tmp_path / "space.yaml"
    content = {"parameters": {"model.heads": {"choice": [2, 8]}, "model.width": {"choice": [12, 16]}}}
    file.write_text(yaml.safe_dump(content))
    load_space(file, with_values(Params(), {"model.width": 12}))


def test_values_are_set_by_name() -> None:
    chosen = with_values(Params(), {"train.lr": 0.5, "model.mode": "bias"})
    assert (chosen.train.lr, chosen.model.mode, chosen.train.epochs) == (0.5, "bias", Params().train.epochs)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"train.learning_rate": {"log": [1e-4, 1e-2]}}, "parameters.train.learning_rate cannot be searched"),
        ({"data.name": {"choice": ["a", "b"]}}, "parameters.data.name cannot be searched"),
        ({"train.workers": {"choice": [1, 2]}}, "parameters.train.workers cannot be searched"),
        ({"train.lr": {"log": [-1.0, 1e-2]}}, "parameters.train.lr: log starts at -1.0; it must be above 0"),
        ({"train.lr": {"uniform": [0.2, 0.1]}}, "the first number, 0.2, must be less than the second, 0.1"),
        ({"train.lr": {"uniform": [0.1, 0.2], "log": [0.1, 0.2]}}, "expected exactly one of choice, uniform, log"),
        ({"train.lr": {"normal": [0.1, 0.2]}}, "parameters.train.lr.normal is unknown"),
        (
            {"train.gene_dropout": {"uniform": [0.0, 1.5]}},
            "train.gene_dropout may be 1.5: Input should be less",
        ),
        ({"model.mode": {"choice": ["mask", "masked"]}}, "parameters.model.mode may be 'masked': Input should be"),
        ({}, "parameters is {}: Dictionary should have at least 1 item"),
    ],
)
def test_an_invalid_space_is_refused(tmp_path: Path, parameters: dict[str, Any], sentence: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"trials": 2, "parameters": parameters}))
    with pytest.raises(UserError) as caught:
        load_space(file, Params())
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_or_invalid_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file; expected a search space"):
        load_space(tmp_path / "none.yaml", Params())
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"bad\.yaml: is not valid YAML"):
        load_space(tmp_path / "bad.yaml", Params())
