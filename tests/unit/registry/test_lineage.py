"""Lineage in a real repository: what makes the code dirty, what does not, and the result without git."""

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sctransformer.registry.lineage import code_url, collect_lineage, committed_since, git_state, package_versions, who
from sctransformer.tracking.source import write_code_archive


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project, below the root of its repository, with a tracked metrics file that DVC writes."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "repository" / "project"
    for folder in ("src", "registry", "notes", "outputs", "data", "pipelines/jobs"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "code.py").write_text("x = 1\n")
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "outputs" / "metrics.json").write_text("{}\n")
    (root / "dvc.lock").write_text("stages: {evaluate: {outs: [{path: outputs/metrics.json}]}}\n")
    (root / ".gitignore").write_text("*.tmp\n")
    (root / "notes" / "tracked.txt").write_text("notes\n")
    git(root.parent, "init", "-q")
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def test_a_clean_tree(repository: Path) -> None:
    state = git_state(repository)
    assert state["dirty"] is False
    assert state["patch_sha256"] is None
    assert len(state["commit"]) == 40
    assert who(repository) == "Ada <ada@example.org>"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("params.yaml", "seed: 1\n"),
        ("dvc.lock", "stages: {evaluate: {outs: [{path: outputs/metrics.json}]}, more: {}}\n"),
        ("outputs/metrics.json", '{"macro_f1": 1}\n'),
        ("notes/idea.txt", "untracked, and not code\n"),
        ("src/scratch.tmp", "ignored\n"),
        ("notes/tracked.txt", "changed\n"),
        ("pipelines/jobs/new.yaml", "a job\n"),
        ("registry/new.yaml", "a policy\n"),
        (".gitignore", "*.tmp\n*.swp\n"),
        ("data/other.tsv", "not read by the run\n"),
    ],
)
def test_what_does_not_count(repository: Path, path: str, content: str) -> None:
    (repository / path).write_text(content)
    assert git_state(repository)["dirty"] is False


@pytest.mark.parametrize(
    "path",
    ["src/code.py", "src/new.py", "dvc.yaml", "registry/model_card.md.j2", "src/naïve name.py", "data/net work.tsv"],
)
def test_what_makes_a_tree_dirty(repository: Path, path: str) -> None:
    (repository / path).write_text("y = 2\n")
    first = git_state(repository, [Path("data/net work.tsv")])
    assert first["dirty"] is True
    assert [file["path"] for file in first["files"]] == [path]
    assert git_state(repository, [Path("data/net work.tsv")]) == first
    (repository / path).write_text("y = 3\n")
    assert git_state(repository, [Path("data/net work.tsv")])["patch_sha256"] != first["patch_sha256"]


def test_cells_are_judged_by_their_dvc_file(repository: Path) -> None:
    """Neither their own file, which git ignores, nor the output of a stage, nor a file outside the project counts."""
    (repository / ".gitignore").write_text("*.tmp\n*.h5ad\n")
    (repository / "data" / "mine.h5ad").write_text("cells")
    cells = [Path("data/mine.h5ad"), Path("outputs/metrics.json"), repository.parent / "elsewhere.tsv"]
    (state,) = git_state(repository, cells)["files"]
    assert (state["path"], state["state"]) == ("data/mine.h5ad", "new")
    (repository / "data" / "mine.h5ad.dvc").write_text("outs: [{path: mine.h5ad, md5: abc}]\n")
    (state,) = git_state(repository, cells)["files"]
    assert (state["path"], state["state"]) == ("data/mine.h5ad.dvc", "new")
    git(repository, "add", "data")
    git(repository, "commit", "-qm", "cells")
    assert git_state(repository, cells)["dirty"] is False


def commit_all(root: Path) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "later")
    return str(git_state(root)["commit"])


def test_files_committed_later_with_the_same_content_are_found(repository: Path) -> None:
    inputs = [Path("data/net.tsv")]
    (repository / "data" / "net.tsv").write_text("edges\n")
    (repository / "src" / "code.py").write_text("x = 2\n")
    lineage = {"git": git_state(repository, inputs)}
    assert committed_since(repository, lineage) is None
    (repository / "notes" / "more.txt").write_text("beside it\n")
    commit = commit_all(repository)
    assert committed_since(repository, lineage) == commit
    (repository / "src" / "code.py").write_text("x = 3\n")
    commit_all(repository)
    assert committed_since(repository, lineage) == commit


@pytest.mark.parametrize("change", ["other content", "more code", "left out"])
def test_files_that_were_not_committed_as_they_were_are_not_clean(repository: Path, change: str) -> None:
    (repository / "src" / "new.py").write_text("x = 2\n")
    lineage = {"git": git_state(repository)}
    if change == "other content":
        (repository / "src" / "new.py").write_text("x = 3\n")
    elif change == "more code":
        (repository / "src" / "code.py").write_text("x = 4\n")
    else:
        (repository / "src" / "new.py").rename(repository / "notes" / "new.py")
    commit_all(repository)
    assert committed_since(repository, lineage) is None


def test_a_deleted_file_and_cells_added_to_dvc_later(repository: Path) -> None:
    (repository / "data" / "mine.h5ad").write_text("cells")
    lock = "stages: {ingest: {deps: [{path: data/mine.h5ad, md5: abc}]}}\n"
    (repository / "dvc.lock").write_text(lock)
    (repository / "src" / "code.py").unlink()
    lineage = {"git": git_state(repository, [Path("data/mine.h5ad")])}
    (repository / ".gitignore").write_text("*.h5ad\n")
    (repository / "data" / "mine.h5ad.dvc").write_text("outs: [{path: mine.h5ad, md5: abc}]\n")
    assert committed_since(repository, lineage) is None
    commit = commit_all(repository)
    assert committed_since(repository, lineage) == commit


def test_staged_deleted_and_neighbouring_files(repository: Path) -> None:
    (repository.parent / "neighbour.txt").write_text("outside the project\n")
    git(repository.parent, "add", "-A")
    assert git_state(repository)["dirty"] is False
    (repository / "src" / "code.py").unlink()
    git(repository, "add", "-A")
    assert git_state(repository)["dirty"] is True


def test_without_a_repository_a_commit_or_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    nothing = {"commit": None, "dirty": None, "patch_sha256": None}
    state = git_state(tmp_path)
    assert "not in a git repository" in state.pop("problem")
    assert len(state.pop("code_sha256")) == 64
    assert state == nothing
    git(tmp_path, "init", "-q")
    state = git_state(tmp_path)
    assert state.pop("problem")
    assert state == nothing
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {**nothing, "problem": "git is not installed"}
    assert who(tmp_path)


def test_without_a_repository_the_code_has_a_digest_and_a_copy(repository: Path, tmp_path: Path) -> None:
    shutil.rmtree(repository.parent / ".git")
    digest = git_state(repository)["code_sha256"]
    (repository / "src" / "__pycache__").mkdir()
    for path in ("params.yaml", "notes/idea.txt", "src/__pycache__/code.pyc"):
        (repository / path).write_text("changed")
    assert git_state(repository)["code_sha256"] == digest
    write_code_archive(repository, tmp_path / "code.zip")
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert archive.namelist() == ["src/code.py"]
    (repository / "src" / "code.py").write_text("x = 2\n")
    assert git_state(repository)["code_sha256"] != digest


def test_all_of_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada_l")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada.lovelace")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a secret")
    params: dict[str, Any] = {"seed": 0, "train": {"lr": 0.1}}
    lineage = collect_lineage(repository, params, "a" * 64, "b" * 64, True, "run")
    assert lineage["params"] == params
    assert (lineage["data_sha256"], lineage["prior_sha256"], lineage["run_id"]) == ("a" * 64, "b" * 64, "run")
    assert len(lineage["dvc_lock_sha256"]) == 64
    assert lineage["when"].endswith("+00:00")
    named = [lineage[name] for name in ("who", "account", "tracking_user")]
    assert named == ["Ada <ada@example.org>", "ada_l", "ada.lovelace"]
    assert "a secret" not in str(lineage)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert collect_lineage(repository, params, "", "", True, None)["tracking_user"] is None
    assert lineage["validation_success"] is True
    (repository / "dvc.lock").unlink()
    assert collect_lineage(repository, params, "", "", True, None)["dvc_lock_sha256"] is None


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://ada:secret@example.org/ada/cells.git", "https://example.org/ada/cells.git"),
        ("git@example.org:ada/cells.git", "git@example.org:ada/cells.git"),
        ("/home/ada/cells", None),
        (None, None),
    ],
)
def test_where_the_code_is(repository: Path, origin: str | None, url: str | None) -> None:
    if origin is not None:
        git(repository, "remote", "add", "origin", origin)
    assert code_url(repository) == url


def test_packages_are_the_direct_ones() -> None:
    versions = package_versions()
    assert {"sctransformer", "torch", "mlflow", "ray", "numpy"} <= set(versions)
    assert {"onnxruntime", "onnxruntime-gpu"} & set(versions)
    assert "pytest" not in versions
