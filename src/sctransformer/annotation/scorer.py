"""What turns checked cells into shards: this process here, a cluster in cluster.py."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from sctransformer.annotation.labelling import Labeller
from sctransformer.annotation.reading import CheckedCells
from sctransformer.annotation.regulators import regulators_for
from sctransformer.annotation.session import ScoringSession, require_cores
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.shards import ShardStore
from sctransformer.annotation.stream import Progress, score_shards
from sctransformer.export.bundle import Bundle


class Scorer(Protocol):
    """Scores shards in this process or on a cluster."""

    @property
    def provider(self) -> str:
        """What the graph runs on."""

    def batch_cells(self, wanted: int | None) -> int:
        """Cells that are scored at a time; `wanted` is the batch size of the settings."""

    def __call__(self, read: CheckedCells, store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """Score the wanted shards and write them to the store; arguments as in `score_shards`."""


class LocalScorer:
    """Scores in this process. The graph is loaded when the first cells are scored.

    Args:
        bundle: the model.
        scoring: settings of the graph.
        alike: a scorer of the same bundle with the same threads and variant, whose graph is used.

    Raises:
        UserError: `scoring.threads` is larger than the number of cores.
    """

    def __init__(
        self,
        bundle: Bundle,
        scoring: Scoring = Scoring(),  # noqa: B008 (immutable)
        alike: "LocalScorer | None" = None,
    ) -> None:
        require_cores(scoring.threads)
        self._bundle, self._scoring, self._alike = bundle, scoring, alike

    @cached_property
    def session(self) -> ScoringSession:
        """The graph, loaded."""
        if self._alike is not None:
            return self._alike.session
        return ScoringSession(self._bundle, self._scoring.threads, self._scoring.variant)

    @property
    def provider(self) -> str:
        """See `Scorer`."""
        return f"{self.session.provider} ({self.session.graph})"

    def batch_cells(self, wanted: int | None) -> int:
        """See `Scorer`."""
        return self.session.batch_cells(wanted)

    def labeller(self, read: CheckedCells) -> Labeller:
        """What labels these cells."""
        panels = [self._labeller(one) for one in read.by_panel()] if self._scoring.absent_genes == "mean" else []
        return self._labeller(read, panels)

    def _labeller(self, read: CheckedCells, panels: Sequence[Labeller] = ()) -> Labeller:
        regulators = regulators_for(self._bundle, read, self._scoring)
        absent = self._scoring.absent_genes
        return Labeller(self.session, self._bundle.vocabulary, read.match, absent, regulators, panels)

    def __call__(self, read: CheckedCells, store: ShardStore, wanted: list[int], on_progress: Progress) -> None:
        """See `Scorer`."""
        score_shards(read, self.labeller(read), store, wanted, on_progress)
