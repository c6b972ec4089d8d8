"""Scoring on a Ray cluster: a pool of actors scores the shards. The only file that imports ray.data.

The driver keeps the journal and writes the output, which has the same bytes as without a cluster. Input, output folder
and bundle must be on storage that all nodes share.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")  # read when ray.data is imported

import ray
import ray.data

from sctransformer.annotation.reading import CheckedCells, check_cells, open_cells
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.session import batch_cells_on
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.shards import ShardStore
from sctransformer.annotation.stream import Progress, no_progress
from sctransformer.errors import OutputError, UserError, one_line
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.training.ray_connection import connection, on_cluster  # before ray is imported

_BLOCK = 4
"""Consecutive shards that an actor scores at a time."""


class ClusterScorer:
    """Scores with a pool of actors on the cluster of RAY_ADDRESS, else on this machine.

    Args:
        bundle: the model, in a folder that all nodes share.
        scoring: settings of each actor's graph.
        workers: number of actors.
        gpus: GPUs per actor.
    """

    def __init__(self, bundle: Bundle, scoring: Scoring, workers: int, gpus: int = 0) -> None:
        self._bundle, self._scoring, self._workers, self._gpus = bundle, scoring, workers, gpus
        self._provider = "not used"

    @property
    def provider(self) -> str:
        """What the actors run on, once one has scored cells."""
        return f"{self._provider}, {self._workers} sessions on Ray"

    def batch_cells(self, wanted: int | None) -> int:
        """See `Scorer`."""
        return batch_cells_on(self._gpus > 0, wanted)

    def __call__(self, read: CheckedCells, store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """See `Scorer`.

        Raises:
            UserError: as `score_shards`, or no cluster answers.
            OutputError: the cluster lost more actors than Ray replaces, or writes to another folder.
        """
        plan = store.plan
        done = plan.cells - sum(len(plan.rows(shard)) for shard in wanted)
        on_progress(done, plan.cells)
        if not wanted:
            return
        store.folder.mkdir(parents=True, exist_ok=True)
        task = {
            "bundle": self._bundle.folder.absolute(),
            "scoring": self._scoring,
            "source": Path(read.source).absolute(),
            "reading": (read.cells.counts_in, read.library_sizes.column),
            "store": ShardStore(store.folder.absolute(), plan, store.activities),
        }
        with ExitStack() as stack:
            stack.enter_context(connection())
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            size = min(self._workers, -(-len(wanted) // _BLOCK))
            cpus = self._scoring.threads or 1
            if not on_cluster():  # actors share this machine's cores rather than wait for each other
                cpus = max(1, min(cpus, int(ray.cluster_resources().get("CPU", 1)) // size))
            blocks = [{"shards": wanted[start : start + _BLOCK]} for start in range(0, len(wanted), _BLOCK)]
            rows = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
                _Worker,
                fn_constructor_kwargs=task,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=size),
                num_cpus=cpus,
                num_gpus=self._gpus,
            )
            try:
                for row in rows.iter_rows():
                    if row["error"]:
                        raise (OutputError if row["output_error"] else UserError)(row["error"])
                    self._provider = row["provider"]
                    done += int(row["cells"])
                    on_progress(done, plan.cells)
            except ray.exceptions.RayError as error:
                why = f"the cluster could not score it ({one_line(error)})"
                raise OutputError(f"{read.source}: {why}; run again.") from error
        left = store.missing()
        if left:
            raise OutputError(
                f"{store.folder}: {len(left)} shards that the cluster scored are missing; the output folder must be "
                "on storage that all nodes share."
            )


class _Worker:
    """An actor: one session, one open file.

    Args:
        bundle: folder of the bundle.
        scoring: settings of the graph.
        source: the file of cells.
        reading: where the driver found counts and library sizes.
        store: receives the shards.
    """

    def __init__(
        self, bundle: Path, scoring: Scoring, source: Path, reading: tuple[str, str | None], store: ShardStore
    ) -> None:
        self._store = store
        self._failed: UserError | None = None
        try:
            read = read_bundle(bundle)
            self._scorer = LocalScorer(read, scoring)
            file = open_cells(source, read.vocabulary, reading[0])
            self._read = check_cells(file, read.vocabulary, 0.0, reading[1])  # the driver required the coverage
        except UserError as error:
            self._failed = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        error, cells, provider = self._failed, 0, ""
        try:
            if error is None:
                shards: Sequence[int] = [int(shard) for row in batch["shards"] for shard in row]
                self._scorer(self._read, self._store, list(shards), no_progress)
                cells = sum(len(self._store.plan.rows(shard)) for shard in shards)
                provider = self._scorer.provider
        except UserError as raised:
            error = raised
        return {
            "cells": [cells],
            "provider": [provider],
            "error": [str(error or "")],
            "output_error": [isinstance(error, OutputError)],
        }
