"""Annotation of one file: check, score, write. Every check that can fail early comes before scoring."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sctransformer.annotation.fields import (
    CELL_TYPES,
    REGULATORS,
    label_columns,
    provenance,
    regulator_columns,
    warn_of_larger_library_sizes,
    warn_of_many_novel_cells,
)
from sctransformer.annotation.hooks import NO_HOOKS, Hooks
from sctransformer.annotation.journal import FETCHED, FOLDER, Journal, digest_of, state_of
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.model import Model
from sctransformer.annotation.output import require_space, temporary_output
from sctransformer.annotation.reading import CheckedCells, check_cells, open_cells
from sctransformer.annotation.regulators import TOP, Regulators, names_written, regulators_for
from sctransformer.annotation.results import Annotation, assemble, profile_of
from sctransformer.annotation.scorer import Scorer
from sctransformer.annotation.settings import DEFAULTS, AnnotationSettings, job_id
from sctransformer.annotation.shards import ShardPlan, ShardStore
from sctransformer.annotation.sources import LocalSource, Source, source_output
from sctransformer.annotation.stream import Progress, no_progress, plan_shards
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.annotation.tables import write_csv, write_parquet
from sctransformer.annotation.verification import require_written
from sctransformer.annotation.voting import voted_columns
from sctransformer.annotation.writers import write_annotated
from sctransformer.data.opening import require_self_contained
from sctransformer.errors import OutputError, UserError
from sctransformer.files import inside, read_json, write_json


def annotate_file(
    model: Model,
    source: Path | Source,
    outdir: Path,
    settings: AnnotationSettings = DEFAULTS,
    *,
    scorer: Scorer | None = None,
    on_progress: Progress = no_progress,
) -> AnnotationSummary:
    """Label every cell of one file, see `FileAnnotator`."""
    annotator = FileAnnotator(model, outdir, settings, scorer, on_progress=on_progress)
    return annotator(LocalSource(source) if isinstance(source, Path) else source)


class _Scored(NamedTuple):
    annotation: Annotation
    limits: Limits
    regulators: Regulators | None
    seconds: float
    resumed: int
    """Cells that a stopped run had scored."""


@dataclass(frozen=True)
class FileAnnotator:
    """Labels files. The result of a file is `<outdir>/<stem>_annotated.<kind>`, written atomically.

    The same content, model and settings again change nothing. A stopped run is resumed: what it had scored is kept in
    a journal in `<outdir>/.sctransformer`.
    """

    model: Model
    outdir: Path
    settings: AnnotationSettings = DEFAULTS
    scorer: Scorer | None = None
    """None: scores in this process."""
    hooks: Hooks = NO_HOOKS
    on_progress: Progress = no_progress

    def output(self, source: Source) -> Path:
        """Path of the result. A source found by a pattern keeps its folder, see `Source.below`."""
        return source_output(source, self.outdir, self.settings.format)

    def __call__(self, source: Source) -> AnnotationSummary:
        """Label every cell of a file.

        Args:
            source: an h5ad file or a zarr folder with raw counts, local or behind a URL; never changed.

        Raises:
            UserError: the file is not what it should be, or too many genes are missing.
            OutputError: the output cannot be written.
            BusyError: another process is writing this output.
        """
        target = self.output(source)
        if source.below.parts:
            inside(self.outdir, source.below / FOLDER)
        if isinstance(source, LocalSource) and target.exists() and target.samefile(source.path):
            raise UserError(f"{target}: is the input itself; choose another folder for the output.")
        state, journal = source.state(), Journal(target)
        digest = journal.known_digest(str(source), state)
        if digest is not None and (summary := self._finished(journal, self._key(digest))) is not None:
            return summary
        with journal.locked(), _kept_if_useful(journal):
            with source.fetched(journal.folder / FETCHED) as path:
                require_self_contained(path)
                state_here = state_of(path)
                digest = digest_of(path)
                key = self._key(digest)
                summary = self._finished(journal, key) or self._label(path, state_here, journal, key)
            journal.keep_digest(str(source), state, digest)
        return summary

    @cached_property
    def _threshold(self) -> float:
        wanted = self.settings.threshold
        return self.model.threshold if wanted is None else float(wanted)

    @cached_property
    def _scorer(self) -> Scorer:
        return self.scorer or self.model.scorer(self.settings.scoring)

    def _key(self, digest: str) -> str:
        """The name of the result for an input with this SHA-256."""
        return job_id(digest, self.model.identity, self.settings, self._threshold, self.hooks.decisive)

    def _finished(self, journal: Journal, key: str) -> AnnotationSummary | None:
        """The summary of an earlier run with this result. The smallest coverage is not part of the key."""
        summary = journal.finished(key)
        if summary is None or summary["coverage"] < self.settings.min_coverage:
            return None
        return AnnotationSummary.from_json(summary, journal.target)

    def _label(self, path: Path, state: str, journal: Journal, key: str) -> AnnotationSummary:
        settings, target, vocabulary = self.settings, journal.target, self.model.bundle.vocabulary
        with open_cells(path, vocabulary, settings.counts) as file:
            read = check_cells(file, vocabulary, settings.min_coverage, settings.library_size_column)
            read.log_notes()
            folder = journal.work_folder(key)
            regulators = regulators_for(self.model.bundle, read, settings)
            require_space(path, target.parent, file.n_cells, self._per_cell(regulators), settings.format)
            validation = self.hooks.check(read)
            scored = self._score(read, folder, regulators)
            _require_unchanged(path, state)
            summary = self._summary(target, key, read, scored, validation)
            temporary = folder / "output" / target.name
            self._write(path, temporary, read, scored, summary)
            _require_unchanged(path, state)  # it was copied meanwhile
        journal.finish(key, temporary, summary.to_json())
        return summary

    def _per_cell(self, regulators: Regulators | None) -> int:
        """Number of values per cell in shards and output, beside the columns of each cell."""
        config = self.model.bundle.config
        activities = 0 if regulators is None else 2 * TOP + 2 * len(names_written(regulators))
        return int(config["embedding"]) + int(config["n_classes"]) + activities

    def _score(self, read: CheckedCells, folder: Path, regulators: Regulators | None) -> _Scored:
        """Score the cells, except those in shards of a stopped run."""
        n_cells = read.cells.n_cells
        plan = self._plan(folder / "plan.json", n_cells)
        store = ShardStore(folder / "shards", plan, activities=bool(names_written(regulators)))
        wanted = store.missing()
        started = time.perf_counter()
        self._scorer(read, store, wanted, self.on_progress)
        seconds = time.perf_counter() - started
        resumed = n_cells - sum(len(store.plan.rows(shard)) for shard in wanted)
        limits = self.model.limits(read, self.settings)
        return _Scored(assemble(store, limits), limits, regulators, seconds, resumed)

    def _plan(self, path: Path, n_cells: int) -> ShardPlan:
        """The plan of the run that is resumed, else a new one, which is saved."""
        if path.is_file():
            try:
                return ShardPlan(**read_json(path))
            except (TypeError, UserError):
                shutil.rmtree(path.parent, ignore_errors=True)
        plan = plan_shards(n_cells, self._scorer.batch_cells(self.settings.batch_cells))
        write_json(path, asdict(plan))
        return plan

    def _summary(
        self, target: Path, key: str, read: CheckedCells, scored: _Scored, validation: dict[str, Any]
    ) -> AnnotationSummary:
        annotation, match, names = scored.annotation, read.match, self.model.labels
        warn_of_many_novel_cells(read.source, annotation.calls)
        profile = profile_of(annotation, names, match.column_G >= 0, scored.regulators).to_json()
        return AnnotationSummary(
            output=target,
            job_id=key,
            cells=len(annotation),
            seconds=scored.seconds,
            labels=annotation.label_counts(names),
            rejected=annotation.calls.rejected,
            rejected_by=annotation.calls.rejected_by,
            without_counts=annotation.without_counts,
            mean_confidence=float(annotation.calls.confidence_N.mean(dtype=np.float64)),
            threshold=scored.limits.confidence,
            novelty_threshold=scored.limits.novelty,
            novelty_note=scored.limits.novelty_note,
            coverage=match.coverage,
            missing_genes=match.missing,
            repeated_genes=match.repeated,
            counts_in=read.cells.counts_in,
            gene_names=match.names_in,
            library_size=str(read.library_sizes),
            notes=read.notes,
            larger_column=warn_of_larger_library_sizes(read, annotation.library_size_N),
            provider=self._scorer.provider,
            regulators=None if scored.regulators is None else scored.regulators.note,
            taken_over=scored.resumed,
            validation=validation,
            flags=self.hooks.flag(profile),
            profile=profile,
        )

    def _write(
        self, source: Path, temporary: Path, read: CheckedCells, scored: _Scored, summary: AnnotationSummary
    ) -> None:
        annotation, regulators = scored.annotation, scored.regulators
        settings, cells = self.settings, read.cells.obs.index
        with temporary_output(temporary, summary.output):
            columns = self._columns(annotation) | regulator_columns(regulators, annotation.top_N3)
            cell_types = self.model.labels if settings.probabilities else []
            names = names_written(regulators)
            more: dict[str, Any] = {CELL_TYPES: cell_types} if cell_types else {}
            more |= {REGULATORS: regulators.described()} if regulators is not None and names else {}
            described = provenance(
                self.model,
                read,
                limits=scored.limits,
                calls=annotation.calls,
                scoring=settings.scoring,
                more={"job_id": summary.job_id, **summary.flags, **more},
            )
            if settings.format == "parquet":
                write_parquet(temporary, cells, annotation, columns, described, cell_types, names)
            elif settings.format == "csv":
                write_csv(temporary, cells, annotation, columns, cell_types, names)
            else:
                write_annotated(source, temporary, annotation, columns, described)
            require_written(temporary, settings.format, cells, columns, annotation)

    def _columns(self, annotation: Annotation) -> dict[str, Any]:
        labels: pd.DataFrame = self.model.bundle.labels
        columns = label_columns(annotation.calls, labels)
        if self.settings.majority_voting:
            embedding_NE = np.concatenate([part_NE for _, part_NE in annotation.embeddings()])
            columns |= voted_columns(embedding_NE, annotation.calls.label_N, labels)
        return columns


@contextmanager
def _kept_if_useful(journal: Journal) -> Iterator[None]:
    """Discard the journal's work on an error that another attempt cannot avoid."""
    try:
        yield
    except OutputError:  # the scored shards are kept
        raise
    except UserError:
        journal.discard()
        raise


def _require_unchanged(path: Path, state: str) -> None:
    if state_of(path) != state:
        raise UserError(f"{path}: was changed while it was annotated; run again.")
