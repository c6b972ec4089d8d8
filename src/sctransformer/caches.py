"""Folders in which libraries keep caches, for a user without a home, as in a container."""

import os
import stat
import tempfile
from pathlib import Path

_CACHES, _CONFIGURATION = "XDG_CACHE_HOME", "XDG_CONFIG_HOME"


def use_writable_caches() -> None:
    """Point the libraries at a temporary folder if they cannot write their caches in the user's home.

    Variables that are set already, such as XDG_CACHE_HOME, MPLCONFIGDIR and NUMBA_CACHE_DIR, stay as they are, unless
    XDG_CACHE_HOME names a folder that cannot be written. Call this before libraries are imported.
    """
    caches = Path(os.environ.get(_CACHES) or Path("~/.cache").expanduser())
    if not _writable(caches):
        caches = _temporary()
        os.environ[_CACHES] = str(caches)  # fontconfig, Numba, downloaded bundles
        os.environ.setdefault("NUMBA_CACHE_DIR", str(caches / "numba"))
    configuration = Path(os.environ.get(_CONFIGURATION) or Path("~/.config").expanduser())
    if not _writable(configuration / "matplotlib"):
        os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or created."""
    if not folder.is_absolute():  # a home that cannot be found
        return False
    try:
        existing = next(one for one in (folder, *folder.parents) if one.exists())
    except OSError:  # a folder on the way cannot be read
        return False
    return os.access(existing, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder of this user alone in the folder for temporary files; the same one for all processes."""
    folder = Path(tempfile.gettempdir()) / f"sctransformer-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="sctransformer-"))  # somebody else has that name
