"""One file from start to end: check, score, write. Every check that can fail early comes before scoring."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sctransformer import __version__
from sctransformer._constants import UNKNOWN_LABEL
from sctransformer.annotate.genes import (
    MIN_COVERAGE,
    GeneMatch,
    match_genes,
    named_by_symbol,
    require_coverage,
)
from sctransformer.annotate.session import ScoringSession
from sctransformer.annotate.stream import BATCH_CELLS, Annotation, score_file
from sctransformer.annotate.writers import write_annotated
from sctransformer.data.cells import CellFile
from sctransformer.data.library import LibrarySizes, choose_library_sizes
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.files import sha256_file, sha256_json, written_whole


@dataclass(frozen=True)
class AnnotationSettings:
    """How a file is annotated."""

    threshold: float | None = None
    """Cells under this confidence are `unknown`; None takes the bundle's own threshold."""
    min_coverage: float = MIN_COVERAGE
    """Smallest share of the panel's expressed weight that the file must have, 0 to 1."""
    library_size_column: str | None = None
    """Column of obs with the counts of the whole cell; None: `library_size` where there is one, else the sums of X."""
    batch_cells: int = BATCH_CELLS
    """Cells a run of the graph. Sets memory and speed, not labels."""
    threads: int | None = None
    """CPU threads; None: one a core."""


@dataclass(frozen=True)
class AnnotationSummary:
    """What was done with one file."""

    output: Path
    job_id: str
    """See `job_id`."""
    cells: int
    seconds: float
    """Reading and scoring; neither loading the model nor writing the output."""
    labels: dict[str, int]
    """Cells of each label, the most frequent first; `unknown` are the rejected."""
    rejected: int
    without_counts: int
    """Rejected because no gene of the panel has a count."""
    threshold: float
    coverage: float
    """Share of the panel's expressed weight that the file has, 0 to 1."""
    missing_genes: list[str]
    """The most expressed first."""
    repeated_genes: list[str]
    """Genes of the panel that name more than one column of the file; their counts were summed."""
    counts_in: str
    """Where the counts stood: `X`, `raw.X` or a layer."""
    gene_names: str
    """Where the gene names stood: `var_names` or a column of var."""
    library_size: str
    """Where library sizes came from."""
    provider: str
    """What onnxruntime ran on."""

    @property
    def cells_per_second(self) -> float:
        """Cells read and scored a second."""
        return self.cells / self.seconds


def job_id(input_sha256: str, bundle_identity: str, settings: AnnotationSettings, threshold: float) -> str:
    """16 hex digits that name a result: the same input, model and settings give the same id.

    Only settings that change the result count.
    """
    decisive = {"threshold": threshold, "library_size_column": settings.library_size_column}
    return sha256_json({"input": input_sha256, "model": bundle_identity, "settings": decisive})[:16]


def output_path(source: Path, outdir: Path) -> Path:
    """Where the annotated copy of a file goes."""
    return outdir / f"{source.stem}_annotated.h5ad"


def annotate_file(
    bundle: Bundle,
    model_name: str,
    model_version: str,
    source: Path,
    outdir: Path,
    settings: AnnotationSettings = AnnotationSettings(),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    session: ScoringSession | None = None,
) -> AnnotationSummary:
    """Label every cell of an h5ad file; the result is `<outdir>/<stem>_annotated.h5ad`, whole or not at all.

    Args:
        bundle: verified by `read_bundle`.
        model_name: the reference that the user gave; written to the output.
        model_version: what it stood for; written to the output.
        source: raw counts in X; never changed.
        on_progress: called with the cells done and the cells there are.
        session: of this bundle, to use it for several files; None starts one.

    Raises:
        UserError: the file is not what it should be, too many genes are missing, or the output cannot be written.
    """
    target = output_path(source, outdir)
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: is the input itself; choose another folder for the output.")
    if source.is_dir():
        raise UserError(f"{source}: is a folder; annotate takes an h5ad file, so write the cells as one.")
    with CellFile(source) as file:
        if file.n_cells == 0:
            raise UserError(f"{source}: has no cells.")
        genes, gene_names = named_by_symbol(bundle.vocabulary, file.var, str(source))
        match = match_genes(bundle.vocabulary, genes)
        require_coverage(match, bundle.vocabulary, file.genes, str(source), settings.min_coverage)
        counts_in = file.counts_in
        library_sizes = choose_library_sizes(file.obs, settings.library_size_column, str(source))
        with written_whole(target) as temporary:
            _require_space(source, outdir, file.n_cells, bundle.config["embedding"])
            before = _state(source)
            threshold = _threshold(bundle, settings)
            identity = bundle.identity
            job = job_id(sha256_file(source), identity, settings, threshold)
            session = session or ScoringSession(bundle, settings.threads)
            started = time.perf_counter()
            annotation = score_file(file, session, match, library_sizes, threshold, settings.batch_cells, on_progress)
            seconds = time.perf_counter() - started
            provenance = {
                "model": model_name,
                "model_version": model_version,
                "model_identity": identity,
                "job_id": job,
                "counts_in": file.counts_in,
                "gene_names": gene_names,
                **_figures(annotation, match, library_sizes, threshold),
                **{key: value for key, value in bundle.lineage.items() if key == "prior_sha256" and value},
                "sctransformer_version": __version__,
            }
            write_annotated(source, temporary, annotation, bundle.labels, provenance)
            if _state(source) != before:
                raise UserError(f"{source}: was changed while it was annotated; run again.")
    return AnnotationSummary(
        output=target,
        job_id=job,
        cells=len(annotation),
        seconds=seconds,
        labels=_label_counts(annotation, bundle.labels["name"].tolist()),
        rejected=annotation.rejected,
        without_counts=annotation.without_counts,
        threshold=threshold,
        coverage=match.coverage,
        missing_genes=match.missing,
        repeated_genes=match.repeated,
        counts_in=counts_in,
        gene_names=gene_names,
        library_size=str(library_sizes),
        provider=session.provider,
    )


def _figures(annotation: Annotation, match: GeneMatch, sizes: LibrarySizes, threshold: float) -> dict[str, Any]:
    return {
        "gene_coverage": match.coverage,
        "genes_missing": len(match.missing),
        "threshold": threshold,
        "rejected": annotation.rejected,
        "library_size": str(sizes),
    }


def _threshold(bundle: Bundle, settings: AnnotationSettings) -> float:
    return float(bundle.calibration["rejection_threshold"] if settings.threshold is None else settings.threshold)


def _label_counts(annotation: Annotation, names: list[str]) -> dict[str, int]:
    cells_C = np.bincount(annotation.label_N + 1, minlength=len(names) + 1)  # UNKNOWN is -1: it comes first
    counts: dict[str, int] = {}
    for name, cells in zip([UNKNOWN_LABEL, *names], cells_C.tolist(), strict=True):
        counts[name] = counts.get(name, 0) + cells
    return {name: counts[name] for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]}


def _require_space(source: Path, outdir: Path, n_cells: int, embedding: int) -> None:
    needed = source.stat().st_size + n_cells * (embedding + 2) * 4
    free = shutil.disk_usage(outdir).free
    if free < needed:
        found, wanted = f"{free / 1e6:,.1f} MB free", f"{needed / 1e6:,.1f} MB"
        raise UserError(f"{outdir}: has {found}, but the output needs {wanted}; make room or choose another folder.")


def _state(source: Path) -> tuple[int, int, int]:
    stat: os.stat_result = source.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
