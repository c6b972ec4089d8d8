"""Settings of an annotation, and the name of its result."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sctransformer._constants import GraphForm
from sctransformer.annotation.genes import MIN_COVERAGE
from sctransformer.files import sha256_json

Format = Literal["anndata", "parquet", "csv"]
AbsentGenes = Literal["mean", "zero"]
RESULT_VERSION = 2
"""Raised when the same input, model and settings give another result than before: outputs are then written again."""


@dataclass(frozen=True)
class Scoring:
    """The part of the settings that the graph needs."""

    threads: int | None = None
    variant: GraphForm = "float32"
    absent_genes: AbsentGenes = "mean"


@dataclass(frozen=True)
class AnnotationSettings:
    """How a file is annotated."""

    threshold: float | None = None
    """Cells under this confidence are `unknown`; None takes the bundle's own threshold."""
    min_coverage: float = MIN_COVERAGE
    """Smallest share of the panel's expressed weight that the file must have, 0 to 1."""
    counts: str | None = None
    """Where raw counts stand: `X`, `raw.X` or a layer's name; None: found, see `scorer.open_cells`."""
    library_size_column: str | None = None
    """Column of obs with the counts of the whole cell; None: `library_size` where there is one, else the sums of the
    counts."""
    absent_genes: AbsentGenes = "mean"
    """How a gene is shown that the file lacks: as in the average training cell, which says nothing, or as not
    expressed, for files that were written without the genes that no cell expresses."""
    variant: GraphForm = "float32"
    """Form of the graph, see `export.variants`."""
    majority_voting: bool = False
    """Whether groups of alike cells get the label of their majority in a column of its own, see `voting`."""
    batch_cells: int | None = None
    """Cells a run of the graph. Sets memory and speed, not labels. None: found by a short calibration for large files,
    else `BATCH_CELLS`."""
    threads: int | None = None
    """CPU threads, at most one a core; None: one a core."""
    format: Format = "anndata"
    """`anndata`: an annotated copy, h5ad or zarr as the input is; `parquet`: labels and embeddings; `csv`: labels."""

    @property
    def scoring(self) -> Scoring:
        """The part of the settings that the graph needs."""
        return Scoring(self.threads, self.variant, self.absent_genes)


DEFAULTS = AnnotationSettings()


def job_id(
    input_sha256: str,
    model_identity: str,
    settings: AnnotationSettings,
    threshold: float,
    more: dict[str, Any] | None = None,
) -> str:
    """16 hex digits that name a result: the same input, model and settings give the same id.

    Args:
        input_sha256: digest of the input.
        model_identity: see `Bundle.identity`.
        settings: those that change the result count.
        threshold: confidence under which cells are rejected.
        more: JSON of what else changes the result.
    """
    indecisive = ("min_coverage", "batch_cells", "threads", "threshold")
    decisive: dict[str, Any] = {name: value for name, value in asdict(settings).items() if name not in indecisive}
    if more:
        decisive["more"] = more
    content = {"input": input_sha256, "model": model_identity, "threshold": threshold, "results": RESULT_VERSION}
    return sha256_json({**content, **decisive})[:16]


def output_path(name: str, outdir: Path, output_format: Format = "anndata") -> Path:
    """Path of the annotation of a file with this name."""
    suffix = {"parquet": ".parquet", "csv": ".csv"}.get(output_format, ".zarr" if name.endswith(".zarr") else ".h5ad")
    return outdir / f"{name.removesuffix('.h5ad').removesuffix('.zarr')}_annotated{suffix}"
