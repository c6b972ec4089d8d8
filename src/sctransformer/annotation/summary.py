"""The summary of an annotated file, with values that JSON can hold."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class AnnotationSummary:
    """The result of annotating one file."""

    output: Path
    job_id: str
    """See `settings.job_id`."""
    cells: int
    seconds: float
    """Time of reading and scoring; loading the model and writing the output are not included."""
    labels: dict[str, int]
    """Number of cells per label, the most frequent first; `unknown` counts the rejected."""
    rejected: int
    rejected_by: dict[str, int]
    """Number of rejected cells by reason; each cell has one reason."""
    without_counts: int
    """Number of cells rejected because no gene of the panel has a count."""
    mean_confidence: float
    threshold: float
    """Cells under this confidence are rejected."""
    novelty_threshold: float | None
    """Cells above this novelty are rejected; None: novelty rejects no cell."""
    novelty_note: str | None
    """How this threshold was chosen, or why there is none; None if the model has no novelty score."""
    coverage: float
    """Fraction of the panel's mean expression in genes that the file has, 0 to 1."""
    missing_genes: list[str]
    """Genes of the panel that the file lacks, the most expressed first."""
    repeated_genes: list[str]
    """Genes of the panel that name more than one column of the file; their counts were summed."""
    counts_in: str
    """Where the counts are: `X`, `raw.X` or a layer."""
    gene_names: str
    """Where the gene names are: `var_names` or a column of var."""
    library_size: str
    """Where the library sizes come from."""
    provider: str
    """What onnxruntime ran on."""
    regulators: str | None = None
    """Number of regulators, and of those without an activity; None if they are not wanted or the model has none."""
    notes: list[str] = field(default_factory=list)
    """What the user should know about how the cells were read, see `Cells.notes`."""
    larger_column: str | None = None
    """See `LibrarySizes.larger_column`."""
    taken_over: int = 0
    """Number of cells that a stopped run had scored."""
    unchanged: bool = False
    """Whether the output existed already and nothing was done."""
    validation: dict[str, Any] = field(default_factory=dict)
    """Result of the check before scoring, see `Hooks.check`."""
    flags: dict[str, Any] = field(default_factory=dict)
    """Flags written with the labels, see `Hooks.flag`."""
    profile: dict[str, Any] = field(default_factory=dict, repr=False)
    """Profile of the cells for drift monitoring, see `evaluation.profile`."""

    @property
    def cells_per_second(self) -> float:
        """Cells read and scored per second."""
        return (self.cells - self.taken_over) / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON, without the path of the output."""
        content = {**asdict(self), "labels": list(self.labels.items())}  # JSON objects have no order
        content.pop("output")
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any], output: Path) -> Self:
        """The summary of an output that exists already."""
        return cls(**{**content, "output": output, "labels": dict(content["labels"]), "unchanged": True})
