"""Files under DVC: calls of its command line and reading of its files. Hashes are always computed by DVC."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from urllib.request import url2pathname

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sctransformer.errors import UserError, one_line
from sctransformer.repository import DVC_FOLDER, prepare_dvc

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SECRET_QUERIES = {"access_token", "awsaccesskeyid", "sig", "signature", "token", "x-amz-signature", "x-goog-signature"}
_POLL_SECONDS = 0.2
_END_SECONDS = 10


class Tracked(NamedTuple):
    """Record of a path in the files of DVC."""

    file: Path
    """The .dvc file, or dvc.lock."""
    stage: str | None
    """The stage of dvc.lock that makes the path; None for a .dvc file."""
    md5: str | None
    """Hash by DVC, for a folder with the suffix `.dir`; None until DVC has read the content."""
    size: int | None
    """Bytes; None if only a folder around the path is tracked."""
    origin: str | None
    """The source it was imported from; None if it was added."""


def is_url(source: str) -> bool:
    """Whether a source is a URL (fsspec's form, `scheme://`) and not a path."""
    return _SCHEME.match(source) is not None


def checked_url(url: str) -> str:
    """A URL in the form that DVC takes: `file://` becomes a plain path, others are unchanged.

    Raises:
        UserError: the URL contains a password or signature, which would be committed, or is a file:// URL with a host.
    """
    parts = urlsplit(url)
    if parts.password or parts.username or _SECRET_QUERIES & {key.lower() for key, _ in parse_qsl(parts.query)}:
        public = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        raise UserError(
            f"{public}: the URL contains a key or password, which would be committed to git; set keys in the "
            "environment (such as AWS_ACCESS_KEY_ID), or download the file and add that."
        )
    if parts.scheme.lower() != "file":
        return url
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{url}: has the host {parts.netloc!r}; expected file:///path on this machine.")
    return url2pathname(parts.path)


def run_dvc(*arguments: str, on_wait: Callable[[], None] = lambda: None, folder: Path | None = None) -> None:
    """Run DVC without output.

    Args:
        arguments: arguments of the program `dvc`.
        on_wait: called several times a second while DVC runs.
        folder: working directory; None takes the current one.

    Raises:
        UserError: DVC failed; the message is that of DVC.
    """
    if repository := _repository_of(folder or Path()):
        prepare_dvc(repository)
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-m", "dvc", *arguments]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(timeout=_POLL_SECONDS)
                    break
                on_wait()
        finally:
            if process.poll() is None:  # this program is being stopped: stop DVC first, then restore its files
                process.terminate()
                try:
                    process.wait(timeout=_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if code:
            errors.seek(0)
            raise UserError(f"dvc {arguments[0]}: {dvc_sentence(errors.read().decode(errors='replace'))}")


def _repository_of(folder: Path) -> Path | None:
    """The DVC repository that a folder is in; None if it is in none."""
    whole = folder.absolute()
    return next((one for one in (whole, *whole.parents) if (one / DVC_FOLDER).is_dir()), None)


def dvc_sentence(errors: str) -> str:
    """Error of DVC, from its standard error, as one sentence."""
    _, _, message = errors.rpartition("ERROR:")
    message = message.partition("Having any troubles?")[0]
    message = message.replace("You could also try downloading it manually, and adding it with `dvc add`. - ", "")
    message = " ".join(message.split()).removeprefix("unexpected error - ").rstrip(".")
    return f"{message or 'failed without a message'}."


def fetch(source: str, target: Path, on_wait: Callable[[], None] = lambda: None) -> None:
    """Download or copy a file or folder to `target`, without tracking it.

    Raises:
        UserError: the source does not exist or cannot be read.
    """
    try:
        run_dvc("get-url", source, str(target), on_wait=on_wait)
    except UserError as error:
        raise error if source in str(error) else UserError(f"{source}: {error}") from error


def in_repository(path: Path) -> bool:
    """Whether a path is inside a DVC repository."""
    return _repository_of(path.resolve().parent) is not None


def add(path: Path, on_wait: Callable[[], None] = lambda: None) -> None:
    """Add a file or folder to the DVC repository that it is in.

    Raises:
        UserError: DVC refuses, for example a file that is tracked by git.
    """
    run_dvc("add", path.name, on_wait=on_wait, folder=path.absolute().parent)


def track(path: Path, on_wait: Callable[[], None] = lambda: None) -> None:
    """Add a file or folder to DVC, or update its record; the output of a stage is left unchanged.

    Args:
        path: relative to the project folder, which must be the current one.
        on_wait: called several times a second while DVC runs.

    Raises:
        UserError: DVC refuses, for example a file that is tracked by git.
    """
    tracked = find_tracked(path)
    if tracked is None or (tracked.stage is None and tracked.origin is None):
        add(path, on_wait)
    elif tracked.stage is None:  # `dvc add` would drop the source it was imported from
        run_dvc("commit", "--force", str(tracked.file), on_wait=on_wait)


@contextmanager
def imported(source: str, path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Import `path` from a source; the block puts the content there, so that nothing is downloaded twice.

    Writes `path`.dvc, frozen as all imports are: `dvc update` downloads a later version of the source.

    Raises:
        UserError: DVC refuses.
    """
    run_dvc("import-url", "--no-download", source, str(path), on_wait=on_wait)
    yield
    run_dvc("commit", "--force", f"{path}.dvc", on_wait=on_wait)


def find_tracked(path: Path, project: Path = Path()) -> Tracked | None:
    """Record of a path in the .dvc files or dvc.lock, as itself or as part of a folder; None if it is not tracked.

    Args:
        path: relative to the project folder.
        project: the project folder.

    Raises:
        UserError: a file of DVC is damaged.
    """
    holders = [holder for holder in (path, *path.parents) if holder != Path()]
    for holder in holders:
        file = holder.with_name(f"{holder.name}.dvc")
        if (project / file).is_file():
            content = _read(project / file)
            outs, deps = content.get("outs") or [{}], content.get("deps") or [{}]
            return _tracked(file, None, outs[0], holder == path, deps[0].get("path"))
    lock = project / "dvc.lock"
    for stage, content in (_read(lock).get("stages") or {}).items() if lock.is_file() else ():
        for out in content.get("outs") or []:
            if Path(out.get("path", "")) in holders:
                return _tracked(Path(lock.name), stage, out, Path(out["path"]) == path, None)
    return None


def dvc_files(path: Path) -> list[Path]:
    """Files that DVC may write when `path` is added: .dvc and .gitignore files beside it and beside its folders."""
    holders = [holder for holder in (path, *path.parents) if holder != Path()]
    return [holder.with_name(name) for holder in holders for name in (f"{holder.name}.dvc", ".gitignore")]


@contextmanager
def all_or_nothing(target: Path, files: list[Path]) -> Iterator[Path]:
    """Yield a scratch folder beside `target`; on an error, restore the previous state.

    The block may move `target` to `old` in the scratch folder. On an error `target` and the content of `files` are
    restored, and new files and folders are removed. The scratch folder is removed in any case.

    Args:
        target: file or folder that the block writes.
        files: other files that the block may write.

    Raises:
        UserError: the folder of `target` cannot be written.
    """
    contents = {file: file.read_bytes() if file.is_file() else None for file in files}
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    was_there = target.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UserError(f"{target.parent}: cannot be written ({error.strerror}).") from error
    done = False
    try:
        yield scratch
        done = True
    finally:
        if not done:
            old = scratch / "old"
            if old.exists() or not was_there:
                _remove(target)
            if old.exists():
                old.rename(target)
            for file, content in contents.items():
                if content is not None:
                    file.write_bytes(content)
                else:
                    file.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        if not done:
            for folder in new_folders:
                with suppress(OSError):  # another process has written to it meanwhile
                    folder.rmdir()


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of all files in a folder; 0 if it does not exist."""
    with suppress(FileNotFoundError):  # files are renamed during a download
        if path.is_dir():
            return sum(size_of(inner) for inner in path.iterdir())
        return path.stat().st_size
    return 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tracked(file: Path, stage: str | None, out: Any, itself: bool, origin: str | None) -> Tracked:
    return Tracked(file, stage, out.get("md5"), out.get("size") if itself else None, origin)


@functools.lru_cache(maxsize=16)
def parsed(content: bytes) -> Any:
    """Content of a file of DVC. It is kept and must not be changed: a stage needs dvc.lock a dozen times.

    Raises:
        YAMLError: it is not YAML.
    """
    return YAML(typ="safe").load(content)


def _read(file: Path) -> Any:
    try:
        content = parsed(file.read_bytes())
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UserError(f"{file}: cannot be read ({one_line(error)}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: is not a file of DVC; `git checkout {file}` restores the last version.")
    return content
