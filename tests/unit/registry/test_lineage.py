"""Lineage in a real repository: what makes the code dirty, what does not, and the result without git."""

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sctransformer.registry.lineage import code_url, collect_lineage, git_state, package_versions, who
from sctransformer.tracking.source import write_code_archive


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project, below the root of its repository, with a tracked metrics file that DVC writes."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "repository" / "project"
    for folder in ("src", "registry", "notes", "outputs"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "code.py").write_text("x = 1\n")
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "outputs" / "metrics.json").write_text("{}\n")
    (root / "dvc.lock").write_text("stages: {evaluate: {outs: [{path: outputs/metrics.json}]}}\n")
    (root / ".gitignore").write_text("*.tmp\n")
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
    ],
)
def test_what_does_not_count(repository: Path, path: str, content: str) -> None:
    (repository / path).write_text(content)
    assert git_state(repository)["dirty"] is False


@pytest.mark.parametrize(
    "path", ["src/code.py", "src/new.py", "registry/new.yaml", "src/naïve name.py", "src/params.yaml", ".gitignore"]
)
def test_what_makes_a_tree_dirty(repository: Path, path: str) -> None:
    (repository / path).write_text("y = 2\n")
    first = git_state(repository)
    assert first["dirty"] is True
    assert git_state(repository) == first
    (repository / path).write_text("y = 3\n")
    assert git_state(repository)["patch_sha256"] != first["patch_sha256"]


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
