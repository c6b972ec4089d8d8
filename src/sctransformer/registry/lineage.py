"""Where a model comes from: commit and changes on it, data, network, parameters, packages, person. No MLflow."""

import getpass
import hashlib
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from sctransformer.files import sha256_file

_OWN_FOLDERS = ("src", "pipelines", "registry")
"""Where a file that git does not know would change what runs."""
_RECORDED_BY_CONTENT = ("params.yaml", "dvc.lock")
_GIT_SECONDS = 60
_ELSEWHERE = re.compile(r"(?:https?|ssh|git)://\S+|[\w.-]+@[\w.-]+:\S+")
_TRACKING_USER = "MLFLOW_TRACKING_USERNAME"
"""By which the tracking server knows the person, where it asks for a name."""


def collect_lineage(
    root: Path,
    params: dict[str, Any],
    data_sha256: str,
    prior_sha256: str,
    validation_success: bool,
    run_id: str | None,
) -> dict[str, Any]:
    """Everything that must be known to make the same model again.

    The tree is dirty when a tracked file differs from HEAD, or `src/`, `pipelines/` or `registry/` hold files that git
    neither tracks nor ignores. params.yaml, dvc.lock and the outputs that dvc.lock lists do not count: their content
    is recorded here anyway, and a run with `-S train.lr=...` or a fresh metrics file is not changed code.

    Args:
        root: the project's folder.
        params: the whole of params.yaml.
        data_sha256, prior_sha256: of the cells and of the network.
        validation_success: whether the cells passed validation.
        run_id: the training run in MLflow.

    Returns:
        git (commit, dirty, patch_sha256, and why git told nothing, if so), code_url (None where the repository names no
        other), dvc_lock_sha256 (None without the file),
        data_sha256, prior_sha256, params, packages, python, platform, validation_success, run_id, who, account,
        tracking_user, and when (UTC). These last four say who made it and are part of no identity; each is a name.
    """
    lock = root / "dvc.lock"
    return {
        "git": git_state(root),
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


def git_state(root: Path) -> dict[str, Any]:
    """Commit of HEAD, whether the tree is dirty, and a digest of what differs (None when clean).

    Without git, outside a repository, or before the first commit all are None, and `problem` says why: the lineage
    gate then closes.
    """
    try:
        commit = _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
        excluded = [f":(exclude,literal){path}" for path in (*_RECORDED_BY_CONTENT, *_outputs(root / "dvc.lock"))]
        exact = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--relative")
        difference = _git(root, "diff", *exact, "HEAD", "--", ".", *excluded)
        listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *_OWN_FOLDERS)
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "dirty": None, "patch_sha256": None, "problem": _why(error)}
    untracked = sorted(name for name in listed.decode(errors="surrogateescape").split("\0") if name)
    if not difference and not untracked:
        return {"commit": commit, "dirty": False, "patch_sha256": None}
    patch = hashlib.sha256(difference)
    for name in untracked:
        path = root / name
        content = sha256_file(path) if path.is_file() else ""
        patch.update(f"\0{name}\0{content}".encode(errors="surrogateescape"))
    return {"commit": commit, "dirty": True, "patch_sha256": patch.hexdigest()}


def code_url(root: Path) -> str | None:
    """Where others find the commit: the repository's origin, without a name or password; None for a path or nothing."""
    try:
        url = _git(root, "config", "--get", "remote.origin.url").decode().strip()
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
    """The person as git knows them, else the name of the account."""
    try:
        name, email = (_git(root, "config", f"user.{part}").decode().strip() for part in ("name", "email"))
        return f"{name} <{email}>"
    except (OSError, subprocess.SubprocessError):
        return account()


def account() -> str:
    """The name of the account on this machine, `unknown` where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a user id that has no name
        return "unknown"


def utc_now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(root: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True, timeout=_GIT_SECONDS)
    return done.stdout


def _why(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[0] if lines else f"git ended with {error.returncode}"
    return str(error)


def _outputs(lock: Path) -> list[str]:
    """Paths that dvc.lock lists as outputs of a stage; none where it cannot be read."""
    try:
        stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {})
        return [output["path"] for stage in stages.values() for output in stage.get("outs", [])]
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return []
