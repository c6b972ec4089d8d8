"""Settings of an annotation, and the name of its result."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sctransformer._constants import GraphForm
from sctransformer.data.settings import CountSource, CoverageLimit
from sctransformer.files import sha256_json
from sctransformer.settings import Settings

Format = Literal["anndata", "parquet", "csv"]
AbsentGenes = Literal["mean", "zero"]
RegulatorOutput = Literal["off", "top", "all"]
RESULT_VERSION = 6
"""Raised when the same input, model and settings give another result than before: outputs are then written again."""


class GraphSettings(Settings):
    """What the model's graph computes."""

    absent_genes: AbsentGenes = "mean"
    """What the model reads for panel genes that the file lacks. `mean`: their mean in the training cells, because not
    measured is not zero. `zero`: not expressed; choose it only if the genes were measured and left out of the file
    because no cell expresses them."""
    variant: GraphForm = "float32"
    """Form of the model's graph. `float32`: the reference, right in nearly all cases. `float16`: half the memory, for
    GPUs. `int8`: smaller, with slightly other probabilities, for machines with little memory. `mha`: another attention
    operator, faster in some versions of onnxruntime. A bundle holds those that `export.variants` lists."""
    regulators: RegulatorOutput = "top"
    """What is written of the activities of regulators. `top`: the column top_regulators, up to three regulators that
    stand out in each cell, with signs. `all`: also the activities of all regulators, `obsm["X_regulators"]`, and their
    own mRNA, `obsm["X_regulators_mrna"]`; in a table one column per regulator. `off`: nothing."""


class Scoring(GraphSettings):
    """The part of the settings that the graph needs."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that score cells on the CPU, at most one per core; memory grows with their number. If not given, one per
    core, at most 16."""


class LabellingSettings(GraphSettings, CoverageLimit, CountSource):
    """How cells are labelled, and what is written."""

    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Cells with a lower confidence are labelled `unknown`; if not given, the model's own threshold."""
    reject_novel: bool = True
    """Label cells `unknown` that are unlike all training cells (novelty above the model's threshold)."""
    majority_voting: bool = False
    """Also give each cell the most frequent label of its cluster (Leiden clusters of the embedding), in the column
    majority_voting, as CellTypist does. It smooths single wrong labels, and hides types rarer than a cluster."""
    probabilities: bool = False
    """Also write the probability of each cell type: `obsm["sctransformer_probabilities"]` in an annotated copy, one
    column per cell type in a table."""
    batch_cells: int | None = Field(default=None, ge=1, validation_alias="batch_size", serialization_alias="batch_size")
    """Cells that a thread scores at a time; on a CPU rounded up to a multiple of 64. Changes memory and speed, not the
    results. If not given, 64 on a CPU and 256 on a GPU."""
    format: Format = "anndata"
    """Output: `anndata`, an annotated copy of the input; `parquet`, labels and embeddings; `csv`, labels."""


class AnnotationSettings(LabellingSettings, Scoring):
    """How a file is annotated."""

    @property
    def scoring(self) -> Scoring:
        """The part of the settings that the graph needs."""
        return self.part(Scoring)


class ClusterSettings(Settings):
    """How files are scored on a Ray cluster."""

    workers: int = Field(default=2, ge=1)
    """Number of scoring sessions on the cluster."""


DEFAULTS = AnnotationSettings.model_construct()  # the defaults need no check, and `--help` no time for it


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
        settings: only those that change the result count.
        threshold: confidence below which cells are rejected.
        more: JSON of what else changes the result.
    """
    indecisive = ("min_coverage", "batch_cells", "threads", "threshold")
    decisive = {name: value for name, value in settings if name not in indecisive}
    if more:
        decisive["more"] = more
    content = {"input": input_sha256, "model": model_identity, "threshold": threshold, "results": RESULT_VERSION}
    return sha256_json({**content, **decisive})[:16]


def output_path(name: str, outdir: Path, output_format: Format = "anndata") -> Path:
    """Path of the annotation of a file with this name."""
    suffix = {"parquet": ".parquet", "csv": ".csv"}.get(output_format, ".zarr" if name.endswith(".zarr") else ".h5ad")
    return outdir / f"{name.removesuffix('.h5ad').removesuffix('.zarr')}_annotated{suffix}"
