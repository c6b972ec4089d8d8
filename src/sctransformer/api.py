"""The public Python API. What is public is this list; everything else in the package may change without notice.

    import sctransformer as sct

- `load_model`: a registered model, or the folder of a bundle, as a `Model`.
- `Model`: predicts labels, probabilities (`predict_proba`) and embeddings (`embed`), and explains labels (`explain`,
  `explain_cells`).
- `annotate`: labels the cells of an AnnData object, as `sctransformer annotate` labels those of files.
- `regulators`: the activities of regulators as an AnnData, for scanpy's functions.
- `rank_regulators`: regulators whose activity differs between groups of cells, conditions or donors.
- `report`: writes a page to explore annotated cells, a training or a model, as `sctransformer report`.
- `train`: trains with the project's parameters, as `sctransformer train`.
- `register`, `promote`, `rollback`: versions and the champion of a registered model, as the commands of these names.
- `read_network`: a gene regulatory network from a published file.
- `read_bundle`: the content of a bundle, verified.
- `UserError`: what all of these raise for errors that the user can fix; the message says what to do.

`import sctransformer` imports none of the libraries that these need. Loading models and labelling cells needs neither
torch nor, for a bundle's folder, MLflow.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anndata import AnnData

from sctransformer._constants import GraphForm
from sctransformer.annotation.activity_cells import regulators
from sctransformer.annotation.in_memory import annotate_adata
from sctransformer.annotation.model import Model, checked_settings
from sctransformer.annotation.settings import DEFAULTS, AbsentGenes, RegulatorOutput
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.loading import load_model

if TYPE_CHECKING:
    from sctransformer.annotation.ranking import rank_regulators
    from sctransformer.pipeline.experiment import train
    from sctransformer.prior.readers import read_network
    from sctransformer.registry import promote, register, rollback
    from sctransformer.reports.writing import report

__all__ = [
    "Model",
    "UserError",
    "annotate",
    "load_model",
    "promote",
    "rank_regulators",
    "read_bundle",
    "read_network",
    "register",
    "regulators",
    "report",
    "rollback",
    "train",
]

_MODULES = {
    "promote": "sctransformer.registry",
    "rank_regulators": "sctransformer.annotation.ranking",
    "read_network": "sctransformer.prior.readers",
    "register": "sctransformer.registry",
    "report": "sctransformer.reports.writing",
    "rollback": "sctransformer.registry",
    "train": "sctransformer.pipeline.experiment",
}
"""Functions that are imported when they are first used: MLflow and scipy.stats take seconds to import."""


def __getattr__(name: str) -> Any:
    """Import a function when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def annotate(
    adata: AnnData,
    model: Model | str | Path,
    *,
    majority_voting: bool = False,
    probabilities: bool = False,
    regulators: RegulatorOutput = DEFAULTS.regulators,
    threshold: float | None = None,
    reject_novel: bool = DEFAULTS.reject_novel,
    min_coverage: float = DEFAULTS.min_coverage,
    counts: str | None = None,
    library_size_column: str | None = None,
    absent_genes: AbsentGenes = DEFAULTS.absent_genes,
    variant: GraphForm = DEFAULTS.variant,
    batch_size: int | None = None,
    threads: int | None = None,
) -> AnnData:
    """Label cells.

    The labels are those that `sctransformer annotate` gives to the same cells in a file.

    Args:
        adata: cells with raw counts in `X`, `raw.X` or a layer, in memory or backed. Genes are named by symbol, former
            symbol or Ensembl id, in `var_names` or a column of `var`.
        model: the model, or what `load_model` takes.
        majority_voting: whether to cluster the cells and give each cluster its most frequent label.
        probabilities: whether to keep the probability of each cell type.
        regulators: `off`; `top`: name the regulators that stand out in each cell; `all`: also keep the activities of
            all regulators and their own mRNA. Needs a model with activities.
        threshold: cells under this confidence are labelled `unknown`; None takes the model's threshold.
        reject_novel: whether cells that are unlike all training cells are labelled `unknown`.
        min_coverage: smallest fraction, 0 to 1, of the model's expression in genes that `adata` has.
        counts: where the raw counts are: `X`, `raw.X` or a layer's name; None looks for them.
        library_size_column: column of `obs` with the total counts of each cell; None takes `library_size` if it exists,
            else the sums of the counts.
        absent_genes: what genes that `adata` lacks count as: `mean`, as in the average training cell, or `zero`.
        variant: form of the graph: `float32`, `mha`, `float16` or `int8`, if the model has it.
        batch_size: cells that a thread scores at a time; sets memory and speed, not results. None chooses.
        threads: threads that score cells; sets memory and speed, not results. None takes one per core, at most 16.

    Returns:
        The AnnData with the following fields set:

        - `obs["predicted_labels"]`: the most likely cell type, or `unknown` (categorical).
        - `obs["conf_score"]`: its calibrated probability, also where the label is `unknown` (float32).
        - `obs["predicted_labels_raw"]`: the most likely cell type, also where the label is `unknown` (categorical).
        - `obs["predicted_labels_second"]`, `obs["conf_score_second"]`: the second most likely cell type (categorical)
          and its calibrated probability (float32).
        - `obs["unknown_reason"]`: why the label is `unknown`, missing where it is not (categorical).
        - `obs["novelty"]`: how unlike the training cells the cell is, 0 for the median validation cell (float32); only
          if the model has a novelty score.
        - `obs["cell_type_ontology_term_id"]`: its Cell Ontology id (categorical); only if the model has ids and `adata`
          has no such column of its own.
        - `obs["over_clustering"]`, `obs["majority_voting"]`: clusters and their labels (categorical); only with
          `majority_voting`.
        - `obsm["X_sctransformer"]`: cell embeddings (float32).
        - `obsm["sctransformer_probabilities"]`: calibrated probabilities, one column per cell type in the order of
          `uns["sctransformer"]["cell_types"]` (float32); only with `probabilities`.
        - `obs["top_regulators"]`: up to three regulators, the strongest first, with the sign of their activity, such as
          `SPI1+ CEBPA+ TCF7-` (categorical); not with `regulators="off"`. They are those with the largest absolute
          activity, in standard deviations of the training cells, among the regulators that are typical of the cell's
          label and active in its direction: their mean activity in the label's training cells differs from that of the
          other labels by at least half a standard deviation. For an `unknown` cell all regulators are considered.
          Labels rest on genes; these regulators are not the reason of the label.
        - `obsm["X_regulators"]`: activities in standard deviations of the training cells, one column per regulator in
          the order of `uns["sctransformer"]["regulators"]["name"]` (float32); NaN for a regulator with fewer measured
          targets than `prior.min_targets` of the training. Only with `regulators="all"`.
        - `obsm["X_regulators_mrna"]`: log1p of counts per 10,000 of the regulators' own genes, in the same order
          (float32); NaN for a gene that `adata` lacks. Only with `regulators="all"`.
        - `uns["sctransformer"]`: which model labelled the cells, and how. Files have a member `job_id` as well.

        Columns of an earlier annotation are replaced; a column whose name differs from one of these by letter case
        alone is renamed to `<name>_input`.

    Raises:
        UserError: there are no cells or no raw counts, too many genes are missing, or the model cannot be loaded.

    Examples:
        >>> import anndata, sctransformer as sct
        >>> adata = anndata.read_h5ad("new_cells.h5ad")  # doctest: +SKIP
        >>> adata = sct.annotate(adata, "celltype@champion", majority_voting=True)  # doctest: +SKIP
        >>> adata.obs["majority_voting"].value_counts()  # doctest: +SKIP
    """
    settings = checked_settings(
        threshold=threshold,
        reject_novel=reject_novel,
        min_coverage=min_coverage,
        counts=counts,
        library_size_column=library_size_column,
        absent_genes=absent_genes,
        variant=variant,
        majority_voting=majority_voting,
        probabilities=probabilities,
        regulators=regulators,
        batch_cells=batch_size,
        threads=threads,
    )
    return annotate_adata(adata, model if isinstance(model, Model) else load_model(model), settings)
