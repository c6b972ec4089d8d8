"""Where code and data of a run come from: the git commit, what differs from it, and the hashes that DVC knows."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from sctransformer.data.versioned import find_tracked

_CODE = ("src", "pipelines", "registry", "dvc.yaml", "pyproject.toml", "constraints.txt")
_GIT_SECONDS = 30
MOST_PATCH_BYTES = 10_000_000
"""A larger difference is no change of code; it is not kept."""


def git_commit(root: Path) -> str | None:
    """Commit of HEAD; None without git, outside a repository, or before the first commit."""
    found = _git(root, "rev-parse", "--verify", "HEAD")
    return None if found is None else found.decode().strip()


def code_patch(root: Path) -> bytes:
    """What differs from HEAD in tracked code, as `git apply` takes it; empty if nothing does, or nothing is known.

    Files that git does not track are listed at its end as comments.
    """
    there = [path for path in _CODE if (root / path).exists()]
    difference = _git(root, "diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", "--", *there) or b""
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "--", *there) or b""
    untracked = b"".join(b"# not tracked: " + line + b"\n" for line in listed.splitlines())
    patch = difference + untracked
    return patch if len(patch) <= MOST_PATCH_BYTES else b""


def dvc_md5(path: Path, root: Path = Path()) -> str | None:
    """The hash by which DVC knows a file or folder: as something it keeps, else as what a stage of dvc.lock reads.

    None where DVC does not know it.
    """
    tracked = find_tracked(path, root)
    if tracked is not None and tracked.md5 is not None:
        return tracked.md5
    for stage in _yaml(root / "dvc.lock").get("stages", {}).values():
        for entry in stage.get("deps", []):
            if entry.get("path") == path.as_posix() and "md5" in entry:
                return str(entry["md5"])
    return None


def _yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=_GIT_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return None
