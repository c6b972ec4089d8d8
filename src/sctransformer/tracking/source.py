"""Where code and data of a run come from: the git commit, what differs from it, the hashes that DVC recorded."""

import getpass
import hashlib
import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sctransformer.data.versioned import find_tracked
from sctransformer.files import sha256_file, sha256_json
from sctransformer.repository import git, in_git

CODE = ("src", "pipelines", "registry", "dvc.yaml", "pyproject.toml", "constraints.txt")
"""Where a file that git does not track changes what runs."""
RECORDED_BY_CONTENT = ("params.yaml", "dvc.lock")
"""Files whose content is part of the lineage; they and the outputs in dvc.lock are not code."""
MAX_PATCH_BYTES = 10_000_000
"""A larger difference is not a change of code; it is not kept with the run."""


NO_REPOSITORY = "the project is not in a git repository"
_GENERATED = {"__pycache__", ".pyc", ".egg-info"}


@dataclass(frozen=True)
class CodeState:
    """The commit that a run used, and what differed from it."""

    commit: str | None
    """Commit of HEAD; None if `problem` is set."""
    patch: bytes = b""
    """The difference from the commit, which `git apply` restores; empty if there is none."""
    problem: str | None = None
    """Why git reported nothing: it is not installed, there is no repository or no commit."""
    code_sha256: str | None = None
    """Digest of the code files, if the project is not in a git repository; None if it is."""

    @property
    def dirty(self) -> bool | None:
        """Whether the code differs from the commit; None if unknown."""
        return None if self.commit is None else bool(self.patch)

    @property
    def patch_sha256(self) -> str | None:
        """SHA-256 of the patch; None if there is none."""
        return hashlib.sha256(self.patch).hexdigest() if self.patch else None


def code_state(root: Path) -> CodeState:
    """The commit of a project's folder, and its code changes.

    A change is a tracked file that differs from HEAD, or a file in `CODE` that git neither tracks nor ignores.
    params.yaml, dvc.lock and the outputs listed in dvc.lock do not count: the lineage records them by content.
    Outside a git repository, the code is identified by the digest of its files.
    """
    if not in_git(root):
        return CodeState(None, problem=NO_REPOSITORY, code_sha256=code_digest(root))
    try:
        commit = git(root, "rev-parse", "--verify", "HEAD").decode().strip()
        excluded = [f":(exclude,literal){path}" for path in (*RECORDED_BY_CONTENT, *_outputs(root / "dvc.lock"))]
        patch = git(root, "diff", *_EXACT, "--relative", "HEAD", "--", ".", *excluded)
        listed = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *CODE)
        for name in sorted(filter(None, listed.split(b"\0"))):
            if (root / os.fsdecode(name)).is_file():
                patch += git(root, "diff", *_EXACT, "--no-index", "--", "/dev/null", name, may_differ=True)
            else:  # a nested repository or a broken link
                patch += b"# not tracked: " + name + b"\n"
    except (OSError, subprocess.SubprocessError) as error:
        return CodeState(None, problem=_why(error))
    return CodeState(commit, patch)


def code_files(root: Path) -> list[Path]:
    """The files of the code in a project's folder, relative to it, in order; compiled files are left out."""
    found: list[Path] = []
    for part in (root / name for name in CODE):
        found += part.rglob("*") if part.is_dir() else [part]
    kept = [path.relative_to(root) for path in found if path.is_file()]
    kept = [path for path in kept if not _GENERATED & {*path.suffixes, *path.parts}]
    return sorted(path for path in kept if path.as_posix() not in RECORDED_BY_CONTENT)


def code_digest(root: Path) -> str:
    """SHA-256 over the names and contents of the code files."""
    return sha256_json({path.as_posix(): sha256_file(root / path) for path in code_files(root)})


def write_code_archive(root: Path, target: Path) -> None:
    """Write the code files to a zip archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in code_files(root):
            archive.write(root / path, path.as_posix())


def git_commit(root: Path) -> str | None:
    """Commit of HEAD; None without git, outside a repository, or before the first commit."""
    try:
        return git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    except (OSError, subprocess.SubprocessError):
        return None


def code_patch(root: Path) -> bytes:
    """The patch of `code_state`, to be kept with a run; empty if there is none, or if it is too large to be code."""
    patch = code_state(root).patch
    return patch if len(patch) <= MAX_PATCH_BYTES else b""


def dvc_md5(path: Path, root: Path = Path()) -> str | None:
    """The hash that DVC recorded for a file or folder: of its .dvc file, or of a dependency in dvc.lock.

    None if DVC does not know the path.
    """
    tracked = find_tracked(path, root)
    if tracked is not None and tracked.md5 is not None:
        return tracked.md5
    for stage in _stages(root / "dvc.lock"):
        for entry in stage.get("deps", []):
            if entry.get("path") == path.as_posix() and "md5" in entry:
                return str(entry["md5"])
    return None


def account() -> str:
    """The name of the account on this machine, `unknown` if it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a user ID that has no name
        return "unknown"


_EXACT = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""The same patch whatever the user's git configuration."""


def _why(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[0] if lines else f"git failed with exit code {error.returncode}"
    return str(error)


def _stages(lock: Path) -> list[dict[str, Any]]:
    """Stages of dvc.lock; none if it cannot be read."""
    try:
        return [dict(stage) for stage in (yaml.safe_load(lock.read_text()) or {}).get("stages", {}).values()]
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError):
        return []


def _outputs(lock: Path) -> list[str]:
    return [output["path"] for stage in _stages(lock) for output in stage.get("outs") or [] if "path" in output]
