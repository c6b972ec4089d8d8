"""What a job adds to annotation: is the machine large enough, Great Expectations before scoring, drift after it."""

from dataclasses import asdict
from typing import Any

import numpy as np

from sctransformer.annotation.hooks import Hooks
from sctransformer.annotation.reading import CheckedCells
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import Limits, Verdict, judge


def hooks_of(job: Job, bundle: Bundle) -> Hooks:
    """The checks that a job file asks for."""
    limits = limits_of(job)

    def flag(profile: dict[str, Any]) -> dict[str, Any]:
        verdict = judge(bundle.reference, profile, limits)
        return {"drift": verdict.sentence(), "drifted": verdict.drifted}

    def check(read: CheckedCells) -> dict[str, Any]:
        return validated(read, bundle, job.annotation.min_coverage) if job.validate_cells else {}

    return Hooks(check, flag, {"drift": asdict(limits), "validate": job.validate_cells})


def limits_of(job: Job) -> Limits:
    """The limits of the watch over drift that a job file sets."""
    rule = job.drift
    return Limits(rule.psi, rule.detection, rule.rejected, rule.embedding, rule.min_cells)


def verdict_of(job: Job, bundle: Bundle, profile: dict[str, Any]) -> Verdict:
    """What the watch says of a batch."""
    return judge(bundle.reference, profile, limits_of(job))


def validated(read: CheckedCells, bundle: Bundle, min_coverage: float) -> dict[str, Any]:
    """Check a file with the suites for batches.

    Returns:
        Number of expectations met, and the sentences of those that warn.

    Raises:
        UserError: a critical expectation was not met.
    """
    from sctransformer.data.statistics import count_statistics
    from sctransformer.data.validation.batch import check_batch
    from sctransformer.data.validation.limits import BatchLimits

    file, source = read.cells, read.source
    statistics = count_statistics(file.chunks(), file.genes)
    column = read.library_sizes.column
    sizes_N = None if column is None else np.asarray(file.obs[column], dtype=np.float64)
    panel = np.array(bundle.genes, dtype=object)
    gene_F = read.match.gene_of_column_F
    genes = np.where(gene_F >= 0, panel[gene_F], file.genes.to_numpy(dtype=object))
    report = check_batch(
        source,
        file.obs.index,
        genes.tolist(),
        statistics,
        bundle.genes,
        bundle.vocabulary["mean"].to_numpy(),
        sizes_N,
        BatchLimits(min_coverage=min_coverage),
    )
    if report.critical:
        raise UserError(" ".join(failure.sentence(source) for failure in report.critical))
    return {"met": report.met, "warnings": [failure.sentence(source) for failure in report.warnings]}
