"""Lineage of a model: commit and code changes, data, network, parameters, packages, person. No MLflow."""

import dataclasses
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sctransformer.files import sha256_file
from sctransformer.repository import git
from sctransformer.tracking.source import Uncommitted, account, code_state, commit_with

_ELSEWHERE = re.compile(r"(?:https?|ssh|git)://\S+|[\w.-]+@[\w.-]+:\S+")
_TRACKING_USER = "MLFLOW_TRACKING_USERNAME"
"""User name for the tracking server, if it asks for one."""


def collect_lineage(
    root: Path,
    params: dict[str, Any],
    data_sha256: str,
    prior_sha256: str,
    validation_success: bool,
    run_id: str | None,
    inputs: Iterable[Path] = (),
) -> dict[str, Any]:
    """Everything that is needed to make the same model again.

    Args:
        root: the project's folder.
        params: all of params.yaml.
        data_sha256, prior_sha256: of the cells and of the network.
        validation_success: whether the cells passed validation.
        run_id: the training run in MLflow.
        inputs: files that the run reads.

    Returns:
        git (see `git_state`), code_url (None if the repository has no remote), dvc_lock_sha256 (None without the file),
        data_sha256, prior_sha256, params, packages, python, platform, validation_success, run_id, who, account,
        tracking_user, and when (UTC). The last four tell who made the model and are not part of its identity.
    """
    lock = root / "dvc.lock"
    return {
        "git": git_state(root, inputs),
        "code_url": code_url(root),
        "dvc_lock_sha256": sha256_file(lock) if lock.is_file() else None,
        "data_sha256": data_sha256,
        "prior_sha256": prior_sha256,
        "params": params,
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "validation_success": validation_success,
        "run_id": run_id,
        "who": who(root),
        "account": account(),
        "tracking_user": os.environ.get(_TRACKING_USER) or None,
        "when": utc_now(),
    }


def git_state(root: Path, inputs: Iterable[Path] = ()) -> dict[str, Any]:
    """Commit, whether code or inputs differ from it, which files, and the SHA-256 of the patch kept with the run.

    If git reports nothing, all are None, `problem` gives the reason, and the gates for the lineage fail. Outside a git
    repository, `code_sha256` identifies the code, and the policy decides whether that is enough.
    """
    state = code_state(root, inputs)
    content: dict[str, Any] = {"commit": state.commit, "dirty": state.dirty, "patch_sha256": state.patch_sha256}
    if state.files:
        content |= {"files": [dataclasses.asdict(file) for file in state.files], "inputs": list(state.inputs)}
    more = {"problem": state.problem, "code_sha256": state.code_sha256}
    return content | {name: value for name, value in more.items() if value is not None}


def uncommitted_files(git: Mapping[str, Any]) -> list[Uncommitted]:
    """The files that differed from the commit, from `git_state`; empty in the lineage of earlier versions."""
    return [Uncommitted(**file) for file in git.get("files") or []]


def committed_since(root: Path, lineage: Mapping[str, Any]) -> str | None:
    """The commit that holds all that a model was made from, if it was committed after the training.

    Args:
        root: the project's folder.
        lineage: of the model, whose files differed from the commit.
    """
    git = lineage.get("git") or {}
    if git.get("dirty") is not True or not git.get("commit"):
        return None
    return commit_with(root, str(git["commit"]), uncommitted_files(git), git.get("inputs") or [])


def commit_command(paths: Iterable[str]) -> str:
    """The command that commits files."""
    return f"git add {shlex.join(paths)} && git commit -m 'Inputs of the model'"


def code_url(root: Path) -> str | None:
    """URL of the remote `origin`, without user name and password; None if there is none, or it is a local path."""
    try:
        url = git(root, "config", "--get", "remote.origin.url").decode().strip()
    except (OSError, subprocess.SubprocessError):
        return None
    elsewhere = _ELSEWHERE.fullmatch(url)
    return None if elsewhere is None else re.sub(r"//[^/@\s]*@", "//", url)


def package_versions() -> dict[str, str]:
    """Versions of sctransformer, of its direct dependencies, and of whichever onnxruntime is installed."""
    try:
        required = metadata.requires("sctransformer") or []
    except metadata.PackageNotFoundError:
        required = []
    direct = [line for line in required if "extra ==" not in line]
    matches = [re.match(r"[A-Za-z0-9._-]+", line) for line in direct]
    names = {match[0] for match in matches if match} | {"sctransformer", "onnxruntime", "onnxruntime-gpu"}
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the other onnxruntime
    return versions


def who(root: Path = Path()) -> str:
    """Name and email from the git configuration, else the name of the account."""
    try:
        name, email = (git(root, "config", f"user.{part}").decode().strip() for part in ("name", "email"))
        return f"{name} <{email}>"
    except (OSError, subprocess.SubprocessError):
        return account()


def utc_now() -> str:
    """The current time in UTC, as ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
