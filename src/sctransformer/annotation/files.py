"""Several files, one after the other: what is wrong with one keeps no other from being labelled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.scorer import NO_HOOKS, Hooks, Model, Progress, Scorer
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.sources import Source, source_output
from sctransformer.annotation.summary import AnnotationSummary
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
    """Label files in turn, see `annotate_file`. Of files that would have the same output none is labelled.

    Args:
        on_progress: called with the cells of the current file done, and the cells it has.
        hooks: what a job adds.
    """
    sources_of: dict[Path, list[Source]] = {}
    for source in sources:
        sources_of.setdefault(source_output(source, outdir, settings), []).append(source)
    for source in sources:
        target = source_output(source, outdir, settings)
        if len(sources_of[target]) > 1:
            others = ", ".join(str(other) for other in sources_of[target] if other is not source)
            why = f"would have the same output as {others} ({target}); rename one or annotate them apart"
            yield FileOutcome(source, error=UserError(f"{source}: {why}."))
            continue
        try:
            summary = annotate_file(
                model.bundle, model.name, model.version, source, outdir, settings, on_progress, scorer, hooks
            )
        except UserError as error:
            yield FileOutcome(source, error=error)
        else:
            yield FileOutcome(source, summary)
