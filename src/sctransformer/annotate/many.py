"""Several files, one after the other: what is wrong with one keeps no other from being labelled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctransformer.annotate.run import annotate_file
from sctransformer.annotate.scorer import NO_HOOKS, Hooks, Model, Progress, Scorer
from sctransformer.annotate.settings import AnnotationSettings
from sctransformer.annotate.sources import Source
from sctransformer.annotate.summary import AnnotationSummary
from sctransformer.errors import UserError


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file: a summary, or why there is none."""

    source: Source
    summary: AnnotationSummary | None = None
    error: UserError | None = None

    @property
    def done(self) -> AnnotationSummary:
        """The summary of a file that was labelled.

        Raises:
            UserError: it was not; the sentence says why.
        """
        if self.summary is None:
            raise self.error or UserError(f"{self.source}: was not labelled.")
        return self.summary


def annotate_each(
    model: Model,
    sources: Sequence[Source],
    outdir: Path,
    settings: AnnotationSettings,
    scorer: Scorer,
    on_progress: Progress = lambda done, total: None,
    hooks: Hooks = NO_HOOKS,
) -> Iterator[FileOutcome]:
    """Label files in turn, see `annotate_file`.

    Args:
        on_progress: called with the cells of the current file done, and the cells it has.
        hooks: what a job adds.
    """
    for source in sources:
        try:
            summary = annotate_file(
                model.bundle, model.name, model.version, source, outdir, settings, on_progress, scorer, hooks
            )
        except UserError as error:
            yield FileOutcome(source, error=error)
        else:
            yield FileOutcome(source, summary)
