"""Scoring on a Ray cluster: an actor pool of sessions makes the shards; the one file that imports ray.data.

The driver keeps the journal and writes the output, so that is the same, byte for byte, as without a cluster. Input,
output folder and bundle must lie where all nodes see them.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")  # read when ray.data is imported

import ray
import ray.data

from sctransformer.annotation.scorer import LocalScorer, OpenedFile, Progress, open_cells, open_checked
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.shards import ShardPlan, ShardStore
from sctransformer.annotation.stream import BATCH_CELLS
from sctransformer.errors import OutputError, UserError, one_line
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.training.ray_connection import connection, on_cluster  # before ray is imported

_BLOCK = 4
"""Shards that an actor makes in a row."""


class ClusterScorer:
    """Makes shards with a pool of actors, each of which holds a session; the cluster of RAY_ADDRESS, else this machine.

    Args:
        bundle: verified; in a folder that all nodes see.
        settings: threads are those of a session.
        workers: sessions.
        gpus: of each session.
    """

    def __init__(self, bundle: Bundle, settings: AnnotationSettings, workers: int, gpus: int = 0) -> None:
        self._bundle, self._settings, self._workers, self._gpus = bundle, settings, workers, gpus
        self._provider = "not used"

    @property
    def provider(self) -> str:
        """What the sessions run on, once one has."""
        return f"{self._provider}, {self._workers} sessions on Ray"

    def batch_cells(self, n_cells: int) -> int:
        """See `Scorer`."""
        return BATCH_CELLS

    def __call__(self, file: OpenedFile, store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """See `Scorer`.

        Raises:
            UserError: as `score_file`, or no cluster answers, or it lost actors more often than Ray tries again.
        """
        plan = store.plan
        done = plan.cells - sum(len(plan.rows(shard)) for shard in wanted)
        on_progress(done, plan.cells)
        if not wanted:
            return
        store.folder.mkdir(parents=True, exist_ok=True)
        task = {
            "bundle": self._bundle.folder.absolute(),
            "settings": self._settings,
            "source": file.source.absolute(),
            "folder": store.folder.absolute(),
            "plan": plan,
        }
        with ExitStack() as stack:
            stack.enter_context(connection())
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            size = min(self._workers, -(-len(wanted) // _BLOCK))
            cpus = self._settings.threads or 1
            if not on_cluster():  # threads share this machine's cores rather than wait for each other
                cpus = max(1, min(cpus, int(ray.cluster_resources().get("CPU", 1)) // size))
            blocks = [{"shards": wanted[start : start + _BLOCK]} for start in range(0, len(wanted), _BLOCK)]
            made = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
                _ShardMaker,
                fn_constructor_kwargs=task,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=size),
                num_cpus=cpus,
                num_gpus=self._gpus,
            )
            try:
                for row in made.iter_rows():
                    if row["error"]:
                        raise (OutputError if row["output_error"] else UserError)(row["error"])
                    self._provider = row["provider"]
                    done += int(row["cells"])
                    on_progress(done, plan.cells)
            except ray.exceptions.RayError as error:
                why = f"the cluster could not score it ({one_line(error)})"
                raise OutputError(f"{file.source}: {why}; run again.") from error
        left = store.missing()
        if left:
            raise OutputError(
                f"{store.folder}: {len(left)} shards that the cluster made are not there; the output folder must lie "
                "where all nodes see it."
            )


class _ShardMaker:
    """An actor: one session, one open file."""

    def __init__(self, bundle: Path, settings: AnnotationSettings, source: Path, folder: Path, plan: ShardPlan) -> None:
        self._store = ShardStore(folder, plan)
        self._failed: UserError | None = None
        try:
            read = read_bundle(bundle)
            self._scorer = LocalScorer(read, settings)
            self._file = open_checked(open_cells(source, read, settings), read, settings)
        except UserError as error:
            self._failed = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        error, cells, provider = self._failed, 0, ""
        try:
            if error is None:
                shards: Sequence[int] = [int(shard) for row in batch["shards"] for shard in row]
                self._scorer(self._file, self._store, list(shards), lambda done, total: None)
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
