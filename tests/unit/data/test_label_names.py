"""Names of cell types that look wrong are reported with what to do."""

import pytest

from sctransformer.data.label_names import label_warnings


def test_names_of_cell_types_need_no_warning() -> None:
    assert label_warnings(["B cells", "CD4 T", "CD8 T", "9-mer", "NK"]) == []
    assert label_warnings([]) == []


@pytest.mark.parametrize("names", [[str(code) for code in range(10)], ["0.0", "1.0", "9.0"], ["0", "1", "NK"]])
def test_numbers_are_reported(names: list[str]) -> None:
    (sentence,) = label_warnings(names)
    assert "cell types are numbers (0" in sentence
    assert "give the column with the names (--label-column)" in sentence


def test_names_that_differ_only_in_case_or_spaces_are_reported_together() -> None:
    (sentence,) = label_warnings(["B cell", "b cell", "B_Cell", "T cell"])
    assert sentence.startswith("cell types 'B cell', 'B_Cell' and 'b cell' differ only in case or spaces")


def test_control_characters_are_reported() -> None:
    (sentence,) = label_warnings(["B\ncell", "T cell", "\x1b[31mNK", "Überzelle β"])
    assert sentence.startswith("2 cell types with a line break, tab or other control character in the name (")
    assert "'B\\ncell'" in sentence
    assert sentence.isprintable()
