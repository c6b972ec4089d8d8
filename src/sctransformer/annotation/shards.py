"""Shards: predictions for consecutive cells, each in one file whose name has its checksum; written atomically."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sctransformer.annotation.labelling import CellLabels
from sctransformer.errors import OutputError, UserError

SHARD_CELLS = 4096
"""Cells per shard: what a stopped run has to score again at most."""
_DIGITS = 32
_NAME = re.compile(rf"(\d{{8}})-([0-9a-f]{{{_DIGITS}}})\.safetensors")


@dataclass(frozen=True)
class ShardPlan:
    """How the cells of a file are split. Kept with the shards, so that a resumed run splits them in the same way."""

    cells: int
    """Cells in the file."""
    chunk_cells: int
    """Cells read at a time; a multiple of `batch_cells` if that is smaller."""
    batch_cells: int
    """Cells that a thread scores at a time."""

    @property
    def shard_cells(self) -> int:
        """Cells per shard, a multiple of `chunk_cells`."""
        return max(1, SHARD_CELLS // self.chunk_cells) * self.chunk_cells

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.cells // self.shard_cells)

    def rows(self, shard: int) -> range:
        """Positions of a shard's cells in the file."""
        return range(shard * self.shard_cells, min((shard + 1) * self.shard_cells, self.cells))

    def chunk_starts(self, shard: int) -> range:
        """Positions of the first cells of a shard's chunks."""
        rows = self.rows(shard)
        return range(rows.start, rows.stop, self.chunk_cells)


@dataclass(frozen=True)
class Shard(CellLabels):
    """Predictions for consecutive cells of a file, before labels are chosen. G: genes of the vocabulary."""

    detected_G: NDArray[np.int64]
    """Number of cells of the shard that express the gene."""
    expression_G: NDArray[np.float64]
    """Sum over the shard of log1p of counts per 10,000."""


class ShardStore:
    """A folder of shards. Several processes may write to it: a shard has the same name whoever writes it.

    Args:
        folder: created when the first shard is written.
        plan: how the file is split.
    """

    def __init__(self, folder: Path, plan: ShardPlan) -> None:
        self.folder, self.plan = folder, plan
        self._paths: dict[int, Path] = {}

    def missing(self) -> list[int]:
        """Numbers of the shards that are missing or damaged; damaged files are removed."""
        self._paths = {}
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            named = _NAME.fullmatch(path.name)
            if named and int(named[1]) < self.plan.shards and _digest(path.read_bytes()) == named[2]:
                self._paths[int(named[1])] = path
            else:
                path.unlink()
        return [shard for shard in range(self.plan.shards) if shard not in self._paths]

    def write(self, shard: int, content: Shard) -> None:
        """Write a shard under a name with its checksum; it is on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        data = save({name: np.ascontiguousarray(value) for name, value in vars(content).items()})
        target = self.folder / f"{shard:08d}-{_digest(data)}.safetensors"
        temporary = self.folder / f".{target.name}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OutputError(
                f"{self.folder}: cannot be written ({error.strerror}); make room there and run again, which resumes "
                "here."
            ) from error
        self._paths[shard] = target

    def read(self, shard: int) -> Shard:
        """Read a shard that exists.

        Raises:
            UserError: it was changed after it was written.
        """
        path = self._paths[shard]
        named = _NAME.fullmatch(path.name)
        try:
            data = path.read_bytes()
            if named is None or _digest(data) != named[2]:
                raise UserError(f"{path}: does not match its checksum; run again.")
            return Shard(**load(data))
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run again.") from error

    def __iter__(self) -> Iterator[Shard]:
        return (self.read(shard) for shard in range(self.plan.shards))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
