"""What a demo leaves behind in git."""

import subprocess
from pathlib import Path

import pytest

from sctransformer.layout import LOCK
from sctransformer.pipeline.demo import DEMO_LOCK, lock_of_the_commit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a committed dvc.lock as the current folder."""
    monkeypatch.chdir(tmp_path)
    LOCK.write_text("committed")
    (tmp_path / ".gitignore").write_text(".dvc/tmp\n")
    git("init", "-q")
    git("add", "-A")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all")
    return tmp_path


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def test_a_demo_leaves_the_tree_clean_and_the_next_one_finds_its_lock(project: Path) -> None:
    with lock_of_the_commit():
        assert LOCK.read_text() == "committed"
        LOCK.write_text("of the demo")
    assert git("status", "--short") == ""
    with lock_of_the_commit():
        assert LOCK.read_text() == "of the demo"
    assert LOCK.read_text() == "committed"


def test_a_failed_demo_leaves_the_tree_clean_too(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lock_of_the_commit():
        LOCK.write_text("of the demo")
        raise KeyboardInterrupt
    assert LOCK.read_text() == "committed"


def test_a_lock_that_differs_from_the_commit_is_not_touched(project: Path) -> None:
    LOCK.write_text("of my own training")
    with lock_of_the_commit():
        LOCK.write_text("of the demo")
    assert LOCK.read_text() == "of the demo"
    assert not DEMO_LOCK.exists()
