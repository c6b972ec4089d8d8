"""Names that appear in files: AnnData fields, bundle members, registry tags. Each is typed once, here."""

from typing import Final, Literal, NamedTuple


class _ObsNames(NamedTuple):
    """Columns of `adata.obs`."""

    library_size: str = "library_size"
    """Counts of the WHOLE cell, before any choice of genes (float64)."""
    cell_type: str = "cell_type"
    """Label of a training cell (categorical)."""
    donor: str = "donor_id"
    """Donor or batch of a cell (categorical; CELLxGENE's name)."""
    split: str = "split"
    """`train`, `validation`, `test` or `unlabelled` (categorical)."""
    predicted_labels: str = "predicted_labels"
    """Label given by a model, or `unknown` (categorical)."""
    conf_score: str = "conf_score"
    """Calibrated probability of the most likely class (float32)."""
    raw_labels: str = "predicted_labels_raw"
    """Most likely label, also where `predicted_labels` is `unknown` (categorical)."""
    second_labels: str = "predicted_labels_second"
    """Second most likely label (categorical)."""
    second_score: str = "conf_score_second"
    """Calibrated probability of the second most likely label (float32)."""
    novelty: str = "novelty"
    """How unlike the training cells a cell is; 0 for the median validation cell (float32)."""
    reason: str = "unknown_reason"
    """Why `predicted_labels` is `unknown`; missing where it is not (categorical)."""
    ontology_term: str = "cell_type_ontology_term_id"
    """Cell Ontology id of the predicted label, where the bundle knows one (categorical)."""
    top_regulators: str = "top_regulators"
    """Up to three regulators that stand out in the cell, with the sign of their activity (categorical)."""


class _ObsmNames(NamedTuple):
    """Keys of `adata.obsm`."""

    embedding: str = "X_sctransformer"
    """Cell embedding, cells x width (float32)."""
    probabilities: str = "sctransformer_probabilities"
    """Calibrated probabilities, cells x cell types in the order of `uns["sctransformer"]["cell_types"]` (float32)."""
    regulators: str = "X_regulators"
    """Activities in standard deviations of the training cells, cells x regulators in the order of
    `uns["sctransformer"]["regulators"]["name"]` (float32)."""
    regulators_mrna: str = "X_regulators_mrna"
    """log1p of counts per 10,000 of the regulators' own genes, in the same order (float32)."""


class _UnsNames(NamedTuple):
    """Keys of `adata.uns`."""

    annotation: str = "sctransformer"
    """Which model labelled these cells, and how."""
    simulation: str = "simulation"
    """Settings that simulated cells were made with."""


class _BundleFiles(NamedTuple):
    """Members of a model bundle."""

    graph: str = "model.onnx"
    edges_graph: str = "model_edges.onnx"
    """The same function along the edges of the network, faster on a CPU; bundles of models of the other direction, and
    those made before it was added, lack it."""
    evaluated_graph: str = "evaluated.onnx"
    """The model that the metrics are of, with labels fitted on training cells only; comparisons on test cells use it.
    Absent if the labels were not fitted again on all labelled cells."""
    weights: str = "weights.safetensors"
    config: str = "config.json"
    vocabulary: str = "vocabulary.parquet"
    prior: str = "prior.parquet"
    regulators: str = "regulators.parquet"
    """Regulators with an activity, in the order of the graph's output; absent where `edges_graph` is."""
    labels: str = "labels.tsv"
    calibration: str = "calibration.json"
    reference: str = "reference.json"
    metrics: str = "metrics.json"
    parity: str = "parity.json"
    lineage: str = "lineage.json"
    lock: str = "dvc.lock"
    """DVC's record of data and stages when training began, which `dvc_lock_sha256` in the lineage is the digest of;
    bundles made before it was added, or outside DVC, lack it."""
    card: str = "card.md"
    page: str = "card.html"
    """The card to look at; bundles made before it was added lack it."""
    checksums: str = "checksums.txt"


TYPE_MEAN: Final = "mean:"
"""Start of the columns of `regulators.parquet` with the mean activity in the training cells of a type."""
TYPE_STD: Final = "std:"
"""Start of the columns with the standard deviation of the activity in the training cells of a type."""
TYPE_DONORS: Final = "donors:"
"""Start of the columns with the standard deviation, between donors, of the mean activity in a type."""
Variant = Literal["mha", "float16", "int8"]
GraphForm = Literal["float32", Variant]
VARIANTS: Final = {"mha": "model.mha.onnx", "float16": "model.float16.onnx", "int8": "model.int8.onnx"}
"""Other forms of the graph that a bundle may hold, see `export.variants`."""

OBS: Final = _ObsNames()
OBSM: Final = _ObsmNames()
UNS: Final = _UnsNames()
BUNDLE: Final = _BundleFiles()

UNKNOWN_LABEL: Final = "unknown"
REJECTED: Final = "rejected"
"""Column of the served model's answer: whether the cell is `unknown` (bool)."""
TARGET_SUM: Final = 1e4
"""Counts per cell after normalisation: expression is log1p(counts per 10,000)."""
CLIP: Final = 5.0
"""Largest deviation of a gene from its mean, in standard deviations: it limits rare, highly expressed genes."""
BEATS_SHUFFLES: Final = 0.95
"""Least evidence of a regulator that is named: the fraction of shuffled networks that its targets beat."""
SPLITS: Final = ("train", "validation", "test")
UNLABELLED: Final = "unlabelled"
"""Split of the training cells that have no label, or whose label is not to be used."""
CELLXGENE_FIELDS: Final = (
    "assay", "assay_ontology_term_id", "cell_type_ontology_term_id", "development_stage_ontology_term_id", "disease",
    "disease_ontology_term_id", "donor_id", "is_primary_data", "organism", "organism_ontology_term_id",
    "self_reported_ethnicity_ontology_term_id", "sex", "sex_ontology_term_id", "suspension_type", "tissue",
    "tissue_ontology_term_id", "tissue_type",
)  # fmt: skip
"""Columns of obs that CELLxGENE's schema defines; kept where a file has them."""
