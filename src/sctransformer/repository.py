"""The git repository of a project, and DVC in a project without one, such as an unpacked archive."""

import shutil
import subprocess
import sys
from pathlib import Path

from sctransformer.errors import UserError
from sctransformer.locks import has_flock

DVC_FOLDER = Path(".dvc")
_NO_SCM = "no_scm"
"""Setting of DVC for a project that is not in a git repository; see https://dvc.org/doc/user-guide/project-structure."""
_HARDLINK_LOCK = "hardlink_lock"
"""Setting of DVC for file systems without flock."""
_GIT_SECONDS = 60


def git(root: Path, *arguments: str | bytes, may_differ: bool = False) -> bytes:
    """Output of a git command.

    Args:
        root: folder to run it in.
        arguments: of the command.
        may_differ: accept exit code 1, by which `git diff --no-index` reports a difference.

    Raises:
        OSError: git is not installed.
        subprocess.SubprocessError: the command failed or took too long.
    """
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=_GIT_SECONDS)
    if done.returncode and not (may_differ and done.returncode == 1):
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def in_git(root: Path) -> bool:
    """Whether a project is in a git repository: its folder is one, or git tracks files in it.

    A repository that git cannot read counts. A project unpacked inside a repository that tracks none of its files does
    not.
    """
    if (root / ".git").exists():
        return True
    if not any((folder / ".git").exists() for folder in root.absolute().parents):
        return False
    try:
        return bool(git(root, "ls-files", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return True


def prepare_dvc(root: Path = Path()) -> bool:
    """Set DVC's `core.no_scm` in .dvc/config.local if the project is not in git; remove it there if it is.

    Call this before DVC. Without flock, `core.hardlink_lock` is set too. A folder without .dvc is left unchanged.

    Returns:
        Whether the project is in git.

    Raises:
        UserError: git is not installed, or refuses a repository that belongs to another user.
    """
    tracked = in_git(root)
    if tracked:
        require_readable(root)
    if (root / DVC_FOLDER).is_dir():
        local, shared = (_mentions(root / DVC_FOLDER / name, _NO_SCM) for name in ("config.local", "config"))
        if tracked and local:
            _configure(root, "--unset", f"core.{_NO_SCM}")
        elif not tracked and not local and not shared:
            _configure(root, f"core.{_NO_SCM}", "true")
        if not has_flock(root / DVC_FOLDER) and not _mentions(root / DVC_FOLDER / "config.local", _HARDLINK_LOCK):
            _configure(root, f"core.{_HARDLINK_LOCK}", "true")
    return tracked


def require_readable(root: Path) -> None:
    """Check that git reads the repository of a project.

    Raises:
        UserError: git is not installed, or refuses a repository that belongs to another user.
    """
    folder = root.absolute()
    if shutil.which("git") is None:
        raise UserError(f"{folder}: is in a git repository, but git is not installed; install git.")
    try:
        git(root, "rev-parse", "--git-dir")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["it gives no reason"]
        if any("dubious ownership" in line for line in lines):
            command = next((line.strip() for line in lines if "safe.directory" in line), "")
            command = command or f"git config --global --add safe.directory '{folder}'"
            raise UserError(
                f"{folder}: git does not read this repository, because it belongs to another user; if you trust it, "
                f"run `{command}`."
            ) from error
        raise UserError(f"{folder}: git cannot read this repository ({lines[0]}).") from error


def head_commit(root: Path) -> str:
    """The commit of HEAD.

    Raises:
        OSError: git is not installed.
        subprocess.SubprocessError: there is no repository or no commit.
    """
    return git(root, "rev-parse", "--verify", "HEAD").decode().strip()


def require_commit(root: Path = Path()) -> None:
    """Check that the git repository of a project has a commit.

    Raises:
        UserError: it has none.
    """
    try:
        head_commit(root)
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"{root.absolute()}: this git repository has no commit yet, so no model could name its code; run "
            '`git add -A && git commit -m "First commit"`.'
        ) from error


def _mentions(file: Path, setting: str) -> bool:
    try:
        return any(line.strip().startswith(setting) for line in file.read_text().splitlines())
    except OSError:
        return False


def _configure(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", "config", "--local", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"{root.absolute() / DVC_FOLDER}: DVC cannot be configured ({lines[0]}).")
