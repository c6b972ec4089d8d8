"""Settings of the cells: where they are, how their columns are called, how they are split."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sctransformer.settings import Settings, like, require_file_name


class CountSource(Settings):
    """Where the raw counts of a file are."""

    counts: str | None = None
    """Where the raw counts are: `X`, `raw.X`, the name of a layer, or layers to add, as in `spliced+unspliced`; if not
    given, searched for in X, raw.X and layers with usual names such as `counts`."""
    library_size_column: str | None = None
    """Column of obs with the total counts of each whole cell; if not given, `library_size` if the file has it, else the
    sum of the file's counts, which is right only if the file has all genes."""


class CoverageLimit(Settings):
    """What a file to annotate must have of the model's genes."""

    min_coverage: float = Field(default=0.8, ge=0.0, le=1.0)
    """Smallest share of the expression of the model's genes that must be in genes of the file; a file below it is
    refused. Lower it for a panel of chosen genes, and check the labels: they become less certain with every missing
    gene."""


class CellColumns(CountSource):
    """How the columns of a file of labelled cells are called."""

    library_size_column: str | None = like(CountSource, "library_size_column", default="library_size")
    gene_column: str | None = None
    """Column of var with gene symbols or Ensembl ids, or `var_names`; if not given, found automatically."""
    label_column: str = "cell_type"
    """Column of obs with the cell type of each cell."""
    donor_column: str | None = None
    """Column of obs with the donor or batch of each cell; if not given, `donor_id` if the file has it."""
    ontology_column: str | None = None
    """Column of obs with the Cell Ontology id of each cell's type; if not given, `cell_type_ontology_term_id` if the
    file has it, else ids of common names."""
    ontology_ids: dict[str, str] | None = None
    """Cell Ontology ids by cell type, in place of a column; types that are not listed get ids of common names."""


class DataSettings(CellColumns):
    """Which cells to train on. An entry of data/catalogue.yaml sets most of these at once."""

    name: str = "pbmc68k"
    """Name of the dataset, shown in tables and model cards."""
    cells: Path = Path("data/example/pbmc68k_reduced.h5ad")
    """An h5ad file or a zarr folder with raw counts."""
    gene_map: Path = Path("data/example/gene_map.csv")
    """Table of Ensembl ids and gene symbols; the default is GENCODE v44, as in the CellTypist package."""
    new_cells_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Fraction of each cell type that is held out, without labels, as the cells that the demonstration annotates; 0 for
    other datasets of the catalogue."""

    @field_validator("cells", "gene_map")
    @classmethod
    def _is_a_file(cls, value: Path) -> Path:
        return require_file_name(value)


class DatasetDescription(Settings):
    """What is known of a dataset beside its columns; written to the catalogue and to model cards."""

    organism: str = "human"
    """Organism of the cells; at present only human."""
    license: str | None = None
    """Licence of the cells."""
    citation: str | None = None
    """Publication to cite."""
    description: str | None = None
    """Short description of the cells."""


class PrepareSettings(Settings):
    """Gene panel and splits."""

    gene_budget: int | None = Field(default=None, ge=2)
    """Largest number of genes in the panel. If not given: 10,000 with `model.direction` targets, where every gene in at
    least 0.5 % of the training cells is chosen; otherwise 2,048, because attention costs genes x regulators."""
    split: Literal["auto", "stratified", "donor", "table"] = "auto"
    """How to split the cells: within each cell type (`stratified`), by donor, or as in `split_table`. auto: the table
    if there is one, else by donor if the cells have donors, else stratified. With `shared_donors`, stratified where the
    donors allow no split."""
    split_table: Path | None = None
    """Parquet, CSV or TSV file in data/splits with the split of each cell; see `sctransformer.data.split_table`."""
    shared_donors: bool = False
    """Whether a donor may have cells both in the test set and in training; refused unless true."""
    validation_fraction: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Fraction of the cells for validation."""
    test_fraction: float = Field(default=0.25, gt=0.0, lt=1.0)
    """Fraction of the cells for the test set."""
    label_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Fraction of each type's training cells that keep their label, at least two cells."""

    @model_validator(mode="after")
    def _require_training_cells(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"validation_fraction ({self.validation_fraction}) and test_fraction ({self.test_fraction}) leave "
                "nothing to train on; their sum must be under 1"
            )
        return self
