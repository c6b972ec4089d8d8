"""Names of models: which are references, and which are not."""

import pytest

from sctransformer.errors import UserError
from sctransformer.registry.references import Reference, is_reference, parse_reference, require_model_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("celltype@champion", Reference("celltype", alias="champion")),
        ("models:/celltype@champion", Reference("celltype", alias="champion")),
        ("celltype/champion", Reference("celltype", alias="champion")),
        ("celltype/7", Reference("celltype", version=7)),
        ("models:/celltype_2-b/12", Reference("celltype_2-b", version=12)),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "celltype", "celltype@", "@champion", "celltype/", "/7", "celltype/0", "celltype/-1", "celltype/1.5",
        "celltype/seven", "a/b/1", "../x/1", "cell type/1", "celltype@a b", "celltype@a/b", "celltype@a'b", "x'y/1",
        "models:/", "models://celltype/1", "celltype/99999999999", "celltype/1\n", "outputs/bundle", "cell.type/1",
    ],
)  # fmt: skip
def test_no_references(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(UserError, match="is not a model reference; write NAME@ALIAS"):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a@b", "a:b", "x'y", "é", "a\n", "cell.type"])
def test_names_that_no_reference_could_hold(name: str) -> None:
    with pytest.raises(UserError, match="is not a model name"):
        require_model_name(name)


def test_names() -> None:
    for name in ("celltype", "-", "CELL_type-2"):
        require_model_name(name)
