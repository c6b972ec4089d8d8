"""Typed YAML files: what cannot be read, and the first thing that is wrong, in one sentence."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sctransformer.errors import UserError
from sctransformer.typed_yaml import first_problem, read_yaml


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    share: Annotated[float, Field(gt=0.0)]


class _Outer(BaseModel):
    inner: _Inner
    low: int = 0

    @model_validator(mode="after")
    def _whole(self) -> "_Outer":
        if self.low > 5:
            raise ValueError("low lies above 5")
        return self


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"inner": {"share": -1}}, "inner.share is -1: Input should be greater than 0"),
        ({"inner": {}}, "inner.share is missing"),
        ({"inner": {"share": 1, "colour": "red"}}, "inner.colour is unknown"),
        ({"inner": {"share": 1}, "low": 6}, "low lies above 5"),
    ],
)
def test_the_first_problem_is_named(content: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate(content)
    assert first_problem(caught.value) == sentence


def test_words_of_yaml_1_1_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("a: on\nb: no\nc: 1e-3\n")
    assert read_yaml(path, "never") == {"a": "on", "b": "no", "c": 1e-3}
    path.write_text("")
    assert read_yaml(path, "never") is None


def test_what_cannot_be_read_is_said_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file; look elsewhere\.$"):
        read_yaml(tmp_path / "none.yaml", "look elsewhere")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); look elsewhere"):
        read_yaml(tmp_path, "look elsewhere")
    for content in (b"a: [1", b"\xff\xfe\xfa", b"a: 1\na: 2\n"):
        (tmp_path / "broken.yaml").write_bytes(content)
        with pytest.raises(UserError, match=r"broken\.yaml: is not valid YAML \("):
            read_yaml(tmp_path / "broken.yaml", "look elsewhere")
