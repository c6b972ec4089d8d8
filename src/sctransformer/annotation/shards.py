"""Shards: predictions for consecutive cells, in files whose names have their checksums; written atomically."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sctransformer.annotation.labelling import CellLabels
from sctransformer.errors import OutputError, UserError

SHARD_CELLS = 4096
"""Cells per shard: what a stopped run has to score again at most."""
_DIGITS = 32
_NAME = re.compile(rf"(\d{{8}})-([0-9a-f]{{{_DIGITS}}})(\.regulators)?\.safetensors")
_SEPARATE = ("activity_NR", "mrna_NR")
"""Arrays of a shard in a file of their own: they are large, and read once."""


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
    activity_sum_CR: NDArray[np.float64]
    """Sum over the shard of the activities, by most likely cell type; see `Labeller.score_and_sum`."""


class ShardStore:
    """A folder of shards. Several processes may write to it: a shard has the same name whoever writes it.

    Args:
        folder: created when the first shard is written.
        plan: how the file is split.
        activities: whether the activities of all regulators are kept, in a second file per shard.
    """

    def __init__(self, folder: Path, plan: ShardPlan, activities: bool = False) -> None:
        self.folder, self.plan, self.activities = folder, plan, activities
        self._paths: dict[int, Path] = {}
        self._activity_paths: dict[int, Path] = {}

    def missing(self) -> list[int]:
        """Numbers of the shards that are missing or damaged; damaged files are removed."""
        self._paths, self._activity_paths = {}, {}
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else []:
            named = _NAME.fullmatch(path.name)
            if named and int(named[1]) < self.plan.shards and _digest(path.read_bytes()) == named[2]:
                (self._activity_paths if named[3] else self._paths)[int(named[1])] = path
            else:
                path.unlink()
        complete = set(self._paths) & set(self._activity_paths) if self.activities else set(self._paths)
        return [shard for shard in range(self.plan.shards) if shard not in complete]

    def write(self, shard: int, content: Shard) -> None:
        """Write a shard under a name with its checksum; it is on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        arrays = dict(vars(content))
        if self.activities:
            large = {name: arrays[name] for name in _SEPARATE}
            arrays |= {name: values[:, :0] for name, values in large.items()}
            self._activity_paths[shard] = self._write(shard, ".regulators", large)
        self._paths[shard] = self._write(shard, "", arrays)

    def _write(self, shard: int, kind: str, arrays: dict[str, NDArray[Any]]) -> Path:
        data = save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
        target = self.folder / f"{shard:08d}-{_digest(data)}{kind}.safetensors"
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
        return target

    def read(self, shard: int) -> Shard:
        """Read a shard that exists; its activities of all regulators are left out, see `read_activities`.

        Raises:
            UserError: it was changed after it was written.
        """
        path = self._paths[shard]
        try:
            return Shard(**_read(path))
        except TypeError as error:
            raise UserError(f"{path}: cannot be read ({error}); run again.") from error

    def read_activities(self, shard: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Activities, and the regulators' own mRNA, of a shard that exists, see `CellLabels`.

        Raises:
            UserError: it was changed after it was written.
        """
        arrays = _read(self._activity_paths[shard])
        return arrays["activity_NR"], arrays["mrna_NR"]

    def __iter__(self) -> Iterator[Shard]:
        return (self.read(shard) for shard in range(self.plan.shards))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    named = _NAME.fullmatch(path.name)
    try:
        data = path.read_bytes()
        if named is None or _digest(data) != named[2]:
            raise UserError(f"{path}: does not match its checksum; run again.")
        arrays: dict[str, NDArray[Any]] = load(data)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run again.") from error
    return arrays


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
