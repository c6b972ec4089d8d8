"""`make setup` rebuilds an environment that it made, and empties no other."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = f"""#!/bin/sh
# a Python whose `-m venv` installs no pip; the interpreter of the new environment only notes how it is called
[ "$2" = venv ] || exec {sys.executable} "$@"
shift 2
{sys.executable} -m venv --without-pip "$@" || exit
printf '#!/bin/sh\\necho "$@" >> calls\\n' > .venv/bin/pip-stub
rm .venv/bin/python
mv .venv/bin/pip-stub .venv/bin/python
chmod +x .venv/bin/python
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the Makefile and the files that it depends on."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    (project / "python").write_text(PYTHON)
    (project / "python").chmod(0o755)
    return project


def setup(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "setup", "PYTHON=./python", "EXTRA=cpu"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_an_environment_that_make_made_is_rebuilt(folder: Path) -> None:
    done = setup(folder)
    assert done.returncode == 0, done.stderr
    assert "-c constraints.txt -e .[cpu,dev]" in (folder / "calls").read_text()
    assert setup(folder).stdout.count("Installing") == 0  # nothing has changed
    for finished in (True, False):
        (folder / ".venv" / "left").touch()
        if not finished:  # as after Ctrl-C in the middle of an installation
            (folder / ".venv" / ".installed-cpu").unlink()
        (folder / "constraints.txt").touch()
        assert setup(folder).returncode == 0
        assert not (folder / ".venv" / "left").exists()


def test_what_a_link_points_to_is_left_as_it_is(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / ".made-by-make").touch()  # even if make made it, in another folder
    (other / "precious").touch()
    (folder / ".venv").symlink_to(other)
    done = setup(folder)
    assert done.returncode != 0
    assert f".venv is a link to {other}" in done.stdout
    assert (other / "precious").exists()


def test_an_environment_of_somebody_else_is_left_as_it_is(folder: Path) -> None:
    (folder / ".venv").mkdir()
    (folder / ".venv" / "pyvenv.cfg").touch()
    done = setup(folder)
    assert done.returncode != 0
    assert ".venv exists and was not made by make" in done.stdout
    assert [path.name for path in (folder / ".venv").iterdir()] == ["pyvenv.cfg"]
