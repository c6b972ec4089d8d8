"""Output files: one of three kinds, written to a temporary path, with errors that say what to do."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sctransformer.annotation.journal import size_of
from sctransformer.annotation.settings import Format
from sctransformer.errors import OutputError, one_line

_NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_ERRNO_IN_HDF5 = re.compile(r"errno = (\d+)")
_BYTES = 4
"""Per value of an embedding."""
_COLUMNS = 8
"""Values per cell beside its embedding and probabilities."""


@contextmanager
def temporary_output(temporary: Path, target: Path) -> Iterator[Path]:
    """Give an empty folder for a temporary output; on an error it is removed.

    Args:
        temporary: the output; its folder is made here, and was perhaps left by a stopped run.
        target: where it is moved later, for the error.

    Raises:
        OutputError: it cannot be written.
    """
    shutil.rmtree(temporary.parent, ignore_errors=True)
    try:
        temporary.parent.mkdir(parents=True)
        yield temporary
    except BaseException as error:
        shutil.rmtree(temporary.parent, ignore_errors=True)
        if not isinstance(error, OSError | RuntimeError):  # HDF5 reports a full disk as either
            raise
        advice = "make room there and run again" if _is_about_space(error) else "fix that and run again"
        raise OutputError(f"{target}: cannot be written ({one_line(error)}); {advice}.") from error


def require_space(source: Path, folder: Path, n_cells: int, per_cell: int, output_format: Format) -> None:
    """Check before scoring that shards and output fit on the disk.

    Args:
        source: the input file.
        folder: of the output.
        n_cells: number of cells.
        per_cell: size of the embedding, number of cell types and values of regulators, together.
        output_format: of the output.

    Raises:
        OutputError: there is less free space.
    """
    shards = n_cells * (per_cell + _COLUMNS) * _BYTES
    needed = 2 * shards + (size_of(source) if output_format == "anndata" else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: has {free / 1e6:,.1f} MB free, but the output needs {needed / 1e6:,.1f} MB; make room or "
            "choose another folder."
        )


def _is_about_space(error: Exception) -> bool:
    number = getattr(error, "errno", None) or next(iter(_ERRNO_IN_HDF5.findall(str(error))), 0)
    return int(number) in _NO_SPACE
