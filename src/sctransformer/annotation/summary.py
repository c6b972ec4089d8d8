"""What was done with one file, in figures that fit into JSON."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AnnotationSummary:
    """What was done with one file."""

    output: Path
    job_id: str
    """See `settings.job_id`."""
    cells: int
    seconds: float
    """Reading and scoring; neither loading the model nor writing the output."""
    labels: dict[str, int]
    """Cells of each label, the most frequent first; `unknown` are the rejected."""
    rejected: int
    without_counts: int
    """Rejected because no gene of the panel has a count."""
    mean_confidence: float
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
    larger_column: str | None = None
    """See `LibrarySizes.larger_column`."""
    taken_over: int = 0
    """Cells that a run which was stopped had scored."""
    unchanged: bool = False
    """The output was there already; nothing was done."""
    validation: dict[str, Any] = field(default_factory=dict)
    """What a check before scoring found, see `Hooks.check`."""
    flags: dict[str, Any] = field(default_factory=dict)
    """Written beside the labels, see `Hooks.flag`."""
    profile: dict[str, Any] = field(default_factory=dict, repr=False)
    """See `evaluation.profile`; for the watch over drift."""

    @property
    def cells_per_second(self) -> float:
        """Cells read and scored a second."""
        return (self.cells - self.taken_over) / self.seconds if self.seconds else 0.0
