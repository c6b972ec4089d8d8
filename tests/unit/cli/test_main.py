"""The program: names that no file can have are refused, and the root help lists every command in a section."""

from pathlib import Path

import pytest

from sctransformer.cli.display import print_fields
from sctransformer.cli.main import GROUPS, PANELS, VERBS, run


def test_every_command_is_in_one_section_of_the_help() -> None:
    listed = [name for names in PANELS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {command.split()[0] for command, _, _ in VERBS}
    assert set(GROUPS) <= set(listed)


@pytest.mark.parametrize("words", [["verify", "{}"], ["annotate", "-i", "{}", "-m", "{bundle}", "-o", "out"]])
def test_a_name_that_is_too_long_is_refused_in_a_sentence(
    words: list[str], bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(SystemExit) as end:
        run([word.format(long, bundle=bundle_folder) for word in words])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {str(long)[:40]}")
    assert "Unexpected" not in error
    assert error.count("\n") == 1


def test_control_characters_of_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["annotate", "-i", "\x1b[31mcells.h5ad", "-m", "none", "-o", "out"])
    print_fields([("labels", "B \x1b[31mcells\x07")])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "B \\x1b[31mcells\\x07" in printed.out
