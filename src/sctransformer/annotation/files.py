"""Annotation of several files, one after another: an error in one does not stop the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sctransformer.annotation.pipeline import FileAnnotator
from sctransformer.annotation.sources import Source
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.errors import UserError


@dataclass(frozen=True)
class FileOutcome:
    """The outcome for one file: a summary or an error."""

    source: Source
    summary: AnnotationSummary | None = None
    error: UserError | None = None

    @property
    def done(self) -> AnnotationSummary:
        """The summary of a file that was labelled.

        Raises:
            UserError: it was not labelled.
        """
        if self.summary is None:
            raise self.error or UserError(f"{self.source}: was not labelled.")
        return self.summary


def annotate_each(annotator: FileAnnotator, sources: Sequence[Source]) -> Iterator[FileOutcome]:
    """Label files in turn. Files that would have the same output are not labelled."""
    sources_of: dict[Path, list[Source]] = {}
    for source in sources:
        sources_of.setdefault(annotator.output(source), []).append(source)
    for source in sources:
        target = annotator.output(source)
        if len(sources_of[target]) > 1:
            others = ", ".join(str(other) for other in sources_of[target] if other is not source)
            why = f"would have the same output as {others} ({target}); rename one or annotate them separately"
            yield FileOutcome(source, error=UserError(f"{source}: {why}."))
            continue
        try:
            summary = annotator(source)
        except UserError as error:
            yield FileOutcome(source, error=error)
        else:
            yield FileOutcome(source, summary)
