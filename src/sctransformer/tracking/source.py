"""Where code and data of a run come from: the git commit, what differs from it, the hashes that DVC recorded."""

import getpass
import hashlib
import os
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sctransformer.data.versioned import find_tracked, parsed
from sctransformer.files import sha256_file, sha256_json
from sctransformer.repository import git, head_commit, in_git

CODE = ("src", "dvc.yaml", "registry/model_card.md.j2")
"""What a model is made from beside its inputs. params.yaml is recorded by content, with the overrides of the run."""
ARCHIVED = ("src", "pipelines", "registry", "dvc.yaml", "pyproject.toml", "constraints.txt")
"""What identifies the code of a project that is not in git."""
MAX_PATCH_BYTES = 10_000_000
"""A larger difference is not a change of code; it is not kept with the run."""
NO_REPOSITORY = "the project is not in a git repository"
_GENERATED = {"__pycache__", ".pyc", ".egg-info"}
MOST_COMMITS = 200
"""Number of later commits that are searched for what a run was made from."""


@dataclass(frozen=True)
class Uncommitted:
    """A file that a run was made from, and that the commit does not hold with this content."""

    path: str
    """Relative to the project's folder; ends with `/` for a folder."""
    state: str
    """`new`, `modified` or `deleted`."""
    blob: str | None = None
    """Git's hash of the content; None for a folder or a deleted file."""
    md5: str | None = None
    """DVC's hash of the content, where DVC knows it."""

    def __str__(self) -> str:
        return f"{self.path} ({self.state})"


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
    files: tuple[Uncommitted, ...] = ()
    """The files that differ."""
    inputs: tuple[str, ...] = ()
    """The files in git by which the inputs of the run are known: an input itself, or its .dvc file."""

    @property
    def dirty(self) -> bool | None:
        """Whether code or inputs differ from the commit; None if unknown."""
        return None if self.commit is None else bool(self.files)

    @property
    def patch_sha256(self) -> str | None:
        """SHA-256 of the patch; None if there is none."""
        return hashlib.sha256(self.patch).hexdigest() if self.patch else None


def code_state(root: Path, inputs: Iterable[Path] = ()) -> CodeState:
    """The commit of a project's folder, and what of a run's code and inputs differs from it.

    Only what a model is made from counts: files in `CODE` that differ from HEAD or are new, and the inputs of the run.
    An input is judged by its .dvc file if it has one; the output of a stage is not judged, because code and inputs
    determine it; nor is a file outside the project, of which the lineage records the hash.

    Outside a git repository, the code is identified by the digest of its files.

    Args:
        root: the project's folder.
        inputs: files that the run reads.
    """
    if not in_git(root):
        return CodeState(None, problem=NO_REPOSITORY, code_sha256=code_digest(root))
    try:
        commit = head_commit(root)
        known_by = tuple(_judged(root, inputs))
        excluded = [f":(exclude,literal){path}" for path in _outputs(root / "dvc.lock")]
        judged = [*CODE, *(f":(literal){path}" for path in known_by), *excluded]
        changed = _names(git(root, *_NAMES, "HEAD", "--", *judged))
        patch = git(root, "diff", *_EXACT, "--relative", "HEAD", "--", *judged) if changed else b""
        others = "ls-files", "--others", "--directory", "--no-empty-directory", "-z"
        new = _names(git(root, *others[:2], "--exclude-standard", "-z", "--", *CODE))
        if known_by:
            new += _names(git(root, *others, "--", *(f":(literal){path}" for path in known_by)))
        for name in sorted(set(new)):
            if (root / name).is_file() and (root / name).stat().st_size <= MAX_PATCH_BYTES:
                patch += git(root, "diff", *_EXACT, "--no-index", "--", "/dev/null", name, may_differ=True)
            else:  # a nested repository, a broken link, or data
                patch += b"# not tracked: " + os.fsencode(name) + b"\n"
        files = [_uncommitted(root, name, "modified") for name in changed]
        files += [_uncommitted(root, name, "new") for name in sorted(set(new))]
    except (OSError, subprocess.SubprocessError) as error:
        return CodeState(None, problem=_why(error))
    return CodeState(commit, patch, files=tuple(files), inputs=known_by)


def commit_with(root: Path, commit: str, files: Iterable[Uncommitted], inputs: Iterable[str]) -> str | None:
    """The first commit after the one of a run that holds what the run was made from, unchanged.

    Args:
        root: the project's folder.
        commit: that the run used.
        files: what differed from it.
        inputs: `CodeState.inputs` of the run.

    Returns:
        None if there is no such commit up to HEAD, or this is not the repository of the run.
    """
    files = list(files)
    if not files:
        return None
    judged = [*CODE, *(f":(literal){path}" for path in inputs)]
    try:
        later = git(root, "rev-list", "--reverse", f"--max-count={MOST_COMMITS}", f"{commit}..HEAD").decode().split()
        for candidate in later:
            differing = git(root, *_NAMES, commit, candidate, "--", *judged)
            if set(_names(differing)) <= {file.path for file in files} and all(
                _holds(root, candidate, file) for file in files
            ):
                return candidate
    except (OSError, subprocess.SubprocessError):
        return None
    return None


def code_files(root: Path) -> list[Path]:
    """The files of the code in a project's folder, relative to it, in order; compiled files are left out."""
    found: list[Path] = []
    for part in (root / name for name in ARCHIVED):
        found += part.rglob("*") if part.is_dir() else [part]
    kept = [path.relative_to(root) for path in found if path.is_file()]
    kept = [path for path in kept if not _GENERATED & {*path.suffixes, *path.parts}]
    return sorted(kept)


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
        return head_commit(root)
    except (OSError, subprocess.SubprocessError):
        return None


def code_patch(root: Path, inputs: Iterable[Path] = ()) -> bytes:
    """The patch of `code_state`, to be kept with a run; empty if there is none, or if it is too large to be code."""
    patch = code_state(root, inputs).patch
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
_NAMES = ("diff", "--name-only", "-z", "--no-renames", "--relative")


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _judged(root: Path, inputs: Iterable[Path]) -> Iterator[str]:
    """The files in git by which the content of the inputs is known."""
    project = root.resolve()
    for path in inputs:
        whole = (project / path).absolute()
        if not whole.is_relative_to(project):
            continue
        inside = whole.relative_to(project)
        tracked = find_tracked(inside, root)
        if tracked is None:
            yield inside.as_posix()
        elif tracked.stage is None:
            yield tracked.file.as_posix()


def _uncommitted(root: Path, name: str, state: str) -> Uncommitted:
    path = root / name
    if not path.exists() and not path.is_symlink():
        return Uncommitted(name, "deleted")
    blob = git(root, "hash-object", "--", name).decode().strip() if path.is_file() else None
    return Uncommitted(name, state, blob, dvc_md5(Path(name), root))


def _holds(root: Path, commit: str, file: Uncommitted) -> bool:
    """Whether a commit has the content of a file, itself or as a .dvc file with its hash."""
    try:
        blob = git(root, "rev-parse", "--verify", f"{commit}:./{file.path.rstrip('/')}").decode().strip()
    except subprocess.CalledProcessError:
        blob = None
    if file.state == "deleted" or (blob is not None and blob == file.blob):
        return (blob is None) == (file.state == "deleted")
    if file.md5 is None:
        return False
    try:
        content = parsed(git(root, "show", f"{commit}:./{file.path.rstrip('/')}.dvc"))
        return bool(content["outs"][0]["md5"] == file.md5)
    except (subprocess.CalledProcessError, YAMLError, KeyError, IndexError, TypeError):
        return False


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
        return [dict(stage) for stage in (parsed(lock.read_bytes()) or {}).get("stages", {}).values()]
    except (OSError, YAMLError, AttributeError, TypeError, ValueError):
        return []


def _outputs(lock: Path) -> list[str]:
    return [output["path"] for stage in _stages(lock) for output in stage.get("outs") or [] if "path" in output]
