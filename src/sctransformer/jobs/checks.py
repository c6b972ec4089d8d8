"""Checks that a job adds to annotation: expectations before scoring, drift after it."""

from typing import Any

import numpy as np

from sctransformer.annotation.hooks import Hooks
from sctransformer.annotation.reading import CheckedCells
from sctransformer.data.validation.limits import BatchLimits
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import Verdict, judge
from sctransformer.monitor.settings import Limits


def hooks_of(job: Job, bundle: Bundle) -> Hooks:
    """The checks that a job file sets."""

    def flag(profile: dict[str, Any]) -> dict[str, Any]:
        verdict = verdict_of(job, bundle, profile)
        shifted = list(dict.fromkeys(one.regulator for one in verdict.regulators))
        return {
            "drift": verdict.sentence(),
            "drifted": verdict.drifted,
            "shifted_regulators": ", ".join(shifted),
        }

    def check(read: CheckedCells) -> dict[str, Any]:
        return validated(read, bundle, job.annotation.part(BatchLimits)) if job.validate_cells else {}

    return Hooks(check, flag, {"drift": job.drift.part(Limits).model_dump(), "validate": job.validate_cells})


def verdict_of(job: Job, bundle: Bundle, profile: dict[str, Any]) -> Verdict:
    """Compare a batch with the training cells."""
    return judge(bundle.reference, bundle.vocabulary, profile, job.drift, bundle.regulators)


def validated(read: CheckedCells, bundle: Bundle, limits: BatchLimits) -> dict[str, Any]:
    """Check a file with the suites for batches.

    Returns:
        `met`, the number of expectations met, and `warnings`, one sentence each.

    Raises:
        UserError: a critical expectation failed.
    """
    from sctransformer.data.statistics import count_statistics
    from sctransformer.data.validation.batch import check_batch

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
        limits,
    )
    if report.critical:
        raise UserError(" ".join(failure.sentence(source) for failure in report.critical))
    return {"met": report.met, "warnings": [failure.sentence(source) for failure in report.warnings]}
