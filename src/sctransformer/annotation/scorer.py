"""What makes shards of a checked file: this process here, a cluster in cluster.py."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from sctransformer.annotation.genes import GeneMatch, match_genes, named_by_symbol, require_coverage
from sctransformer.annotation.session import ScoringSession, fastest_batch, require_cores
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.shards import ShardStore
from sctransformer.annotation.stream import BATCH_CELLS, score_file
from sctransformer.data.cells import CellFile
from sctransformer.data.library_size import LibrarySizes, choose_library_sizes
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle

CALIBRATED_CELLS = 20_000
"""Files with fewer cells are done before a calibration would pay."""
Progress = Callable[[int, int], None]
"""Called with the cells done and the cells there are."""


@dataclass(frozen=True)
class Model:
    """A bundle under the name by which it was asked for."""

    bundle: Bundle
    """Verified by `read_bundle`."""
    name: str
    """The reference that the user gave; written to the output."""
    version: str
    """What it stood for; written to the output."""


@dataclass(frozen=True)
class Hooks:
    """What a job adds to the annotation of a file."""

    check: Callable[["OpenedFile"], dict[str, Any]] = lambda file: {}
    """Called before scoring; what it gives stands in the summary. A UserError keeps the file from being labelled."""
    flag: Callable[[dict[str, Any]], dict[str, Any]] = lambda profile: {}
    """Called with the profile of the cells; what it gives is written beside the labels."""
    decisive: dict[str, Any] = field(default_factory=dict)
    """JSON of what these depend on: with other values the output is made anew."""


NO_HOOKS = Hooks()


class Scorer(Protocol):
    """Something that makes shards: this process, or a cluster."""

    @property
    def provider(self) -> str:
        """What the graph runs on."""

    def batch_cells(self, n_cells: int) -> int:
        """Cells for a run of the graph, for a file of so many cells."""

    def __call__(self, file: "OpenedFile", store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """Put the wanted shards into the store; arguments as in `score_file`."""


@dataclass(frozen=True)
class OpenedFile:
    """A file of cells that has passed the checks that come before scoring."""

    file: CellFile
    match: GeneMatch
    library_sizes: LibrarySizes
    gene_names: str

    @property
    def source(self) -> Path:
        """Where it lies."""
        return self.file.path


def open_cells(path: Path, bundle: Bundle, settings: AnnotationSettings) -> CellFile:
    """Open a file; of several places that hold raw counts the one that covers most of the model's panel is read.

    Raises:
        UserError: as `CellFile`.
    """

    def covered(var: pd.DataFrame) -> float:
        genes, _ = named_by_symbol(bundle.vocabulary, var, str(path))
        return match_genes(bundle.vocabulary, genes).coverage

    return CellFile(path, settings.counts, covered)


def open_checked(file: CellFile, bundle: Bundle, settings: AnnotationSettings) -> OpenedFile:
    """Match a file's genes with the model's and find its library sizes.

    Raises:
        UserError: it has no cells, too many genes are missing, or the column of library sizes is not there.
    """
    source = str(file.path)
    if file.n_cells == 0:
        raise UserError(f"{source}: has no cells.")
    genes, gene_names = named_by_symbol(bundle.vocabulary, file.var, source)
    match = match_genes(bundle.vocabulary, genes)
    require_coverage(match, bundle.vocabulary, genes, source, settings.min_coverage)
    sizes = choose_library_sizes(file.obs, settings.library_size_column, source, file.counts_in)
    return OpenedFile(file, match, sizes, gene_names)


class LocalScorer:
    """Scores in this process. The graph is loaded when the first cells come.

    Args:
        bundle: verified by `read_bundle`.
        settings: threads, and cells a run of the graph.

    Raises:
        UserError: more threads are wanted than there are cores.
    """

    def __init__(self, bundle: Bundle, settings: AnnotationSettings) -> None:
        require_cores(settings.threads)
        self._bundle, self._settings = bundle, settings

    @cached_property
    def session(self) -> ScoringSession:
        """The graph, loaded."""
        return ScoringSession(self._bundle, self._settings.threads, self._settings.variant)

    @property
    def provider(self) -> str:
        """See `Scorer`."""
        return self.session.provider

    def batch_cells(self, n_cells: int) -> int:
        """See `Scorer`; for a large file a short calibration decides."""
        if n_cells < CALIBRATED_CELLS:
            return BATCH_CELLS
        return self._fastest_batch

    @cached_property
    def _fastest_batch(self) -> int:
        return fastest_batch(self.session, len(self._bundle.genes))

    def __call__(self, file: OpenedFile, store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """Put the wanted shards into the store."""
        vocabulary = self._bundle.vocabulary if self._settings.absent_genes == "mean" else None
        score_file(file.file, self.session, file.match, file.library_sizes, store, wanted, vocabulary, on_progress)
