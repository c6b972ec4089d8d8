"""One file from start to end: check, score, write. Every check that can fail early comes before scoring."""

import errno
import logging
import re
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sctransformer import __version__
from sctransformer.annotation.columns import label_columns
from sctransformer.annotation.journal import FETCHED, FOLDER, Journal, digest_of, size_of, state_of
from sctransformer.annotation.results import Annotation, assemble, profile_of
from sctransformer.annotation.scorer import (
    NO_HOOKS,
    Hooks,
    LocalScorer,
    Model,
    OpenedFile,
    Progress,
    Scorer,
    open_cells,
    open_checked,
)
from sctransformer.annotation.settings import DEFAULTS, AnnotationSettings, job_id
from sctransformer.annotation.shards import ShardPlan, ShardStore
from sctransformer.annotation.sources import LocalSource, Source, source_output
from sctransformer.annotation.stream import plan_shards
from sctransformer.annotation.summary import AnnotationSummary
from sctransformer.annotation.tables import write_csv, write_parquet
from sctransformer.annotation.voting import voted_columns
from sctransformer.annotation.writers import write_annotated
from sctransformer.data.cells import CellFile
from sctransformer.errors import OutputError, UserError, one_line
from sctransformer.export.bundle import Bundle
from sctransformer.files import inside, read_json, write_json

logger = logging.getLogger(__name__)

_NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_ERRNO_IN_HDF5 = re.compile(r"errno = (\d+)")


def annotate_file(
    bundle: Bundle,
    model_name: str,
    model_version: str,
    source: Path | Source,
    outdir: Path,
    settings: AnnotationSettings = DEFAULTS,
    on_progress: Progress = lambda done, total: None,
    scorer: Scorer | None = None,
    hooks: Hooks = NO_HOOKS,
) -> AnnotationSummary:
    """Label every cell of a file; the result is `<outdir>/<stem>_annotated.<kind>`, whole or not at all.

    A source that a pattern found in a folder keeps that folder: see `Source.below`.

    The same content, model and settings again change nothing. A run that was stopped, however, is gone on with: what
    it had scored stands in a journal in `<outdir>/.sctransformer`.

    Args:
        bundle: verified by `read_bundle`.
        model_name, model_version: see `Model`.
        source: an h5ad file or a zarr folder with raw counts, here or behind a URL; never changed.
        on_progress: called with the cells done and the cells there are.
        scorer: of this bundle, to use it for several files; None starts one.
        hooks: what a job adds.

    Raises:
        UserError: the file is not what it should be, or too many genes are missing.
        OutputError: the output cannot be written.
        BusyError: another process is making this output.
    """
    model = Model(bundle, model_name, model_version)
    wanted: Source = LocalSource(source) if isinstance(source, Path) else source
    target = source_output(wanted, outdir, settings)
    if wanted.below.parts:
        inside(outdir, wanted.below / FOLDER)
    if isinstance(wanted, LocalSource) and target.exists() and target.samefile(wanted.path):
        raise UserError(f"{target}: is the input itself; choose another folder for the output.")
    state, journal, threshold = wanted.state(), Journal(target), _threshold(bundle, settings)
    digest = journal.known_digest(str(wanted), state)
    if digest is not None:
        figures = journal.finished(job_id(digest, bundle.identity, settings, threshold, hooks.decisive))
        if figures is not None and _enough(figures, settings):
            return _remembered(target, figures)
    with journal.locked():
        try:
            with wanted.fetched(journal.folder / FETCHED) as path:
                here = state_of(path)
                digest = digest_of(path)
                key = job_id(digest, bundle.identity, settings, threshold, hooks.decisive)
                figures = journal.finished(key)
                if figures is None or not _enough(figures, settings):  # opening it says so
                    with open_cells(path, bundle, settings) as file:
                        opened = open_checked(file, bundle, settings)
                        scorer = scorer or LocalScorer(bundle, settings)
                        summary = _make(model, opened, journal, key, settings, on_progress, scorer, here, hooks)
                else:
                    summary = _remembered(target, figures)
        except OutputError:  # what was scored is kept
            raise
        except UserError:
            journal.discard()
            raise
        journal.keep_digest(str(wanted), state, digest)
    return summary


def _make(
    model: Model,
    opened: OpenedFile,
    journal: Journal,
    key: str,
    settings: AnnotationSettings,
    on_progress: Progress,
    scorer: Scorer,
    state: str,
    hooks: Hooks,
) -> AnnotationSummary:
    source, target, bundle = opened.source, journal.target, model.bundle
    work = journal.work_folder(key)
    _require_space(source, target, opened.file.n_cells, bundle.config["embedding"], settings)
    validation = hooks.check(opened)
    store = ShardStore(work / "shards", _plan(work / "plan.json", opened.file.n_cells, settings, scorer))
    wanted = store.missing()
    taken_over = opened.file.n_cells - sum(len(store.plan.rows(shard)) for shard in wanted)
    started = time.perf_counter()
    scorer(opened, store, wanted, on_progress)
    seconds = time.perf_counter() - started
    _require_unchanged(source, state)
    threshold = _threshold(bundle, settings)
    annotation = assemble(store, threshold)
    profile = profile_of(annotation, bundle.labels["name"].tolist(), opened.match.column_G >= 0).to_json()
    summary = AnnotationSummary(
        output=target,
        job_id=key,
        cells=len(annotation),
        seconds=seconds,
        labels=annotation.label_counts(bundle.labels["name"].tolist()),
        rejected=annotation.rejected,
        without_counts=annotation.without_counts,
        mean_confidence=float(annotation.confidence_N.mean(dtype=np.float64)),
        threshold=threshold,
        coverage=opened.match.coverage,
        missing_genes=opened.match.missing,
        repeated_genes=opened.match.repeated,
        counts_in=opened.file.counts_in,
        gene_names=opened.gene_names,
        library_size=str(opened.library_sizes),
        larger_column=opened.library_sizes.larger_column(annotation.library_size_N),
        provider=scorer.provider,
        taken_over=taken_over,
        validation=validation,
        flags=hooks.flag(profile),
        profile=profile,
    )
    if summary.larger_column is not None:
        logger.warning(
            "%s: library sizes are the %s, but obs[%r] holds larger ones; if genes were cut away, run again with "
            "--library-size-column %s (in a job: annotation.library_size_column).",
            *(source, summary.library_size, summary.larger_column, summary.larger_column),
        )
    temporary = work / "output" / target.name
    _write(source, temporary, opened.file, annotation, model, summary, settings)
    _require_unchanged(source, state)  # it was copied meanwhile
    figures = {**asdict(summary), "labels": list(summary.labels.items())}  # JSON's members have no order
    figures.pop("output")
    journal.finish(key, temporary, figures)
    return summary


def _plan(path: Path, n_cells: int, settings: AnnotationSettings, scorer: Scorer) -> ShardPlan:
    """The plan of the run that is gone on with, else a new one, which is kept."""
    if path.is_file():
        try:
            return ShardPlan(**read_json(path))
        except (TypeError, UserError):
            shutil.rmtree(path.parent, ignore_errors=True)
    plan = plan_shards(n_cells, settings.batch_cells or scorer.batch_cells(n_cells))
    write_json(path, asdict(plan))
    return plan


def _write(
    source: Path,
    temporary: Path,
    file: CellFile,
    annotation: Annotation,
    model: Model,
    summary: AnnotationSummary,
    settings: AnnotationSettings,
) -> None:
    target = summary.output
    try:
        shutil.rmtree(temporary.parent, ignore_errors=True)  # of a run that was stopped
        temporary.parent.mkdir(parents=True)
        provenance, columns = _provenance(model, summary, settings), label_columns(annotation, model.bundle.labels)
        if settings.majority_voting:
            columns |= voted_columns(annotation, model.bundle.labels)
        if settings.format == "parquet":
            write_parquet(temporary, file.obs.index, annotation, columns, provenance)
        elif settings.format == "csv":
            write_csv(temporary, file.obs.index, annotation, columns)
        else:
            write_annotated(source, temporary, annotation, columns, provenance)
    except BaseException as error:
        shutil.rmtree(temporary.parent, ignore_errors=True)
        if not isinstance(error, OSError | RuntimeError):  # HDF5 reports a full disk as either
            raise
        advice = "make room there and run again" if _is_about_space(error) else "put that right and run again"
        raise OutputError(f"{target}: cannot be written ({one_line(error)}); {advice}.") from error


def _is_about_space(error: Exception) -> bool:
    number = getattr(error, "errno", None) or next(iter(_ERRNO_IN_HDF5.findall(str(error))), 0)
    return int(number) in _NO_SPACE


def _provenance(model: Model, summary: AnnotationSummary, settings: AnnotationSettings) -> dict[str, Any]:
    """The same for the same key, however the run went."""
    return {
        "model": model.name,
        "model_version": model.version,
        "model_identity": model.bundle.identity,
        "job_id": summary.job_id,
        "variant": settings.variant,
        "counts_in": summary.counts_in,
        "gene_names": summary.gene_names,
        "gene_coverage": summary.coverage,
        "genes_missing": len(summary.missing_genes),
        "genes_missing_shown_as": settings.absent_genes,
        "threshold": summary.threshold,
        "rejected": summary.rejected,
        "library_size": summary.library_size,
        **summary.flags,
        **{key: value for key, value in model.bundle.lineage.items() if key == "prior_sha256" and value},
        "sctransformer_version": __version__,
    }


def _threshold(bundle: Bundle, settings: AnnotationSettings) -> float:
    return float(bundle.calibration["rejection_threshold"] if settings.threshold is None else settings.threshold)


def _enough(figures: dict[str, Any], settings: AnnotationSettings) -> bool:
    """Whether a file that was labelled would be now: the smallest coverage is no part of the job's id."""
    return bool(figures["coverage"] >= settings.min_coverage)


def _remembered(target: Path, figures: dict[str, Any]) -> AnnotationSummary:
    summary = AnnotationSummary(output=target, **figures)
    return replace(summary, labels=dict(figures["labels"]), unchanged=True)


def _require_unchanged(source: Path, state: str) -> None:
    if state_of(source) != state:
        raise UserError(f"{source}: was changed while it was annotated; run again.")


def _require_space(source: Path, target: Path, n_cells: int, embedding: int, settings: AnnotationSettings) -> None:
    shards = n_cells * (embedding + 4) * 4
    needed = 2 * shards + (size_of(source) if settings.format == "anndata" else 0)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        found, wanted = f"{free / 1e6:,.1f} MB free", f"{needed / 1e6:,.1f} MB"
        raise OutputError(
            f"{target.parent}: has {found}, but the output needs {wanted}; make room or choose another folder."
        )
