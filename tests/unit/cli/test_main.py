"""The root help: every command and group is in one section, in order."""

from sctransformer.cli.main import GROUPS, PANELS, VERBS


def test_every_command_is_in_one_section_of_the_help() -> None:
    listed = [name for names in PANELS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {command.split()[0] for command, _, _ in VERBS}
    assert set(GROUPS) <= set(listed)
