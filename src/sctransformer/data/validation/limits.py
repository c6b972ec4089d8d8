"""Limits that the Great Expectations suites check."""

from pydantic import Field

from sctransformer.data.settings import CoverageLimit
from sctransformer.settings import Settings


class TrainingLimits(Settings):
    """Limits of the suites for cells to train on and for networks."""

    min_cells: int = Field(default=50, ge=2)
    """Smallest number of cells."""
    min_cells_per_class: int = Field(default=5, ge=3)
    """Smallest number of cells per cell type; at least 3, one each for training, validation and test."""
    min_genes_per_cell: int = Field(default=1, ge=1)
    """Smallest number of genes detected in a cell."""
    max_unlabelled_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest fraction of cells without a label."""
    min_edges_in_cells: int = Field(default=1, ge=1)
    """Smallest number of network edges with both ends among the genes of the cells."""
    min_matched_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Smallest fraction of shared genes, relative to the smaller of the two gene sets of network and cells; with fewer,
    the two name genes differently."""
    min_regulated_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Warn if a smaller fraction of the cells' genes has a regulator among them."""
    min_symbol_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Warn if a smaller fraction of gene names looks like gene symbols."""
    max_mitochondrial_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Largest fraction of mitochondrial counts in a cell; warn if more than 5 % of the cells exceed it."""
    min_cells_per_donor: int = Field(default=10, ge=1)
    """Warn of donors with fewer cells."""
    min_classes_per_donor: int = Field(default=2, ge=1)
    """Warn of donors with fewer cell types."""


class BatchLimits(CoverageLimit):
    """Limits of the suites for cells to annotate.

    `min_coverage` and `min_share_with_counts` stop the run; the others only warn.
    """

    min_share_with_counts: float = Field(default=0.5, ge=0.0, le=1.0)
    """Smallest fraction of cells with any count."""
    min_library_size: float = Field(default=200.0, ge=0.0)
    """Smallest total counts of a cell."""
    max_times_median: float = Field(default=20.0, gt=0.0)
    """Largest library size, as a multiple of the file's median."""
    min_largest_count: float = Field(default=10.0, ge=0.0)
    """Smallest maximum of a file's counts; below it, they look like rounded log1p of counts per 10,000 (at most
    9.3)."""
    min_zeros: float = Field(default=0.1, ge=0.0, le=1.0)
    """Smallest fraction of zeros in the median cell; below it, the file looks imputed or smoothed."""
