"""Where caches go: into the home folder, to where the user says, or to a temporary folder."""

import os
import tempfile
from pathlib import Path

import pytest

from sctransformer.caches import use_writable_caches

NAMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of a user without variables, and a folder for temporary files."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "home"


def variables() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def forbid(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Nothing may be written in these folders, also by root."""
    may = os.access

    def access(path: Path, mode: int) -> bool:
        return not any(Path(path).is_relative_to(folder) for folder in folders) and may(path, mode)

    monkeypatch.setattr(os, "access", access)


def test_a_home_that_can_be_written_is_used(home: Path) -> None:
    use_writable_caches()
    assert variables() == {}


def test_without_a_home_caches_are_temporary_and_private(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, home)
    use_writable_caches()
    folder = tmp_path / f"sctransformer-{os.geteuid()}"
    assert variables() == {
        "XDG_CACHE_HOME": str(folder),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_of_somebody_else_is_not_followed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"sctransformer-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    forbid(monkeypatch, home)
    use_writable_caches()
    chosen = Path(os.environ["XDG_CACHE_HOME"])
    assert chosen.parent == tmp_path
    assert not chosen.is_symlink()


def test_what_the_user_sets_is_kept(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, home)
    chosen = {name: str(tmp_path / name) for name in NAMES}
    for name, folder in chosen.items():
        monkeypatch.setenv(name, folder)
    use_writable_caches()
    assert variables() == chosen
