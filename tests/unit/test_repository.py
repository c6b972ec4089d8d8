"""DVC and git in a project that is in a repository, in none, or in one that git refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.repository import in_git, prepare_dvc, require_commit


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a project as in an archive, without .git."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "around" / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    return folder


def git(folder: Path, *words: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
    subprocess.run(command, check=True, capture_output=True)


def local_config(project: Path) -> str:
    file = project / ".dvc" / "config.local"
    return file.read_text() if file.exists() else ""


def test_dvc_is_told_of_a_missing_repository_and_of_a_new_one(project: Path) -> None:
    assert not prepare_dvc(project)
    assert "no_scm = true" in local_config(project)
    written = (project / ".dvc" / "config.local").stat().st_mtime_ns
    assert not prepare_dvc(project)
    assert (project / ".dvc" / "config.local").stat().st_mtime_ns == written
    git(project, "init", "-q")
    assert prepare_dvc(project)
    assert "no_scm" not in local_config(project)


def test_an_archive_unpacked_in_another_repository_is_not_in_it(project: Path) -> None:
    git(project.parent, "init", "-q")
    assert not in_git(project)
    git(project, "add", "-A")
    assert in_git(project)


def test_worktrees_and_shallow_clones_are_repositories(project: Path, tmp_path: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "start")
    git(project, "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth", "1", project.as_uri(), "shallow")
    for folder in (tmp_path / "tree", tmp_path / "shallow"):
        assert prepare_dvc(folder)
        require_commit(folder)


def test_a_repository_without_a_commit_is_refused(project: Path) -> None:
    git(project, "init", "-q")
    assert prepare_dvc(project)
    with pytest.raises(UserError, match=r"has no commit yet.* run `git add -A && git commit"):
        require_commit(project)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to another user")
def test_a_repository_of_another_user_is_refused_with_the_command(project: Path) -> None:
    git(project, "init", "-q")
    for path in (project, *project.rglob("*")):
        os.chown(path, 12345, 12345)
    with pytest.raises(UserError, match=r"belongs to another user; .*`git config --global --add safe.directory"):
        prepare_dvc(project)


def test_a_repository_needs_git(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    git(project, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed"):
        prepare_dvc(project)
    shutil.rmtree(project / ".git")
    assert not prepare_dvc(project)
