"""Paths of the artifacts of a project, relative to its folder. dvc.yaml names the same paths."""

from pathlib import Path

CELLS = Path("data/cells.h5ad")
NEW_CELLS = Path("data/new_cells.h5ad")
EXAMPLE_CELLS = Path("data/example/pbmc68k_reduced.h5ad")
EXAMPLE_GENE_MAP = Path("data/example/gene_map.csv")
GENE_SUMMARY = Path("outputs/ingest/genes.json")

VALIDATION = Path("outputs/validation/results.json")
DATA_DOCS = Path("outputs/validation/data_docs")

PREPARED_CELLS = Path("outputs/prepared/cells.h5ad")
PANEL = Path("outputs/prepared/panel.parquet")
PANEL_SUMMARY = Path("outputs/prepared/panel.json")

EDGES = Path("outputs/prior/edges.parquet")
BIAS = Path("outputs/prior/bias.safetensors")
COVERAGE = Path("outputs/prior/coverage.json")
DEGREES = Path("outputs/prior/degrees.csv")
COVERAGE_PLOT = Path("outputs/prior/coverage.png")

TRAINING = Path("outputs/training")
WEIGHTS = TRAINING / "weights.safetensors"
MODEL_CONFIG = TRAINING / "model.json"
LINEAGE = TRAINING / "lineage.json"
LOCK = Path("dvc.lock")
TRAINING_LOCK = TRAINING / LOCK.name
"""dvc.lock as it was when training started; empty if there was none."""
HISTORY = TRAINING / "history.csv"
CURVES = TRAINING / "curves.png"
LABEL_REPORT = TRAINING / "labels.json"
"""How the classifier was chosen; empty for a classifier that is trained by gradient descent."""
CHECKPOINTS = Path("outputs/ray")
"""Checkpoints of a training that runs or was interrupted, unless train.storage names another place."""
LOGS = Path("outputs/logs")
FAILED_BATCH = Path("outputs/failed_batch.json")

EVALUATION = Path("outputs/evaluation")
METRICS = EVALUATION / "metrics.json"
CLASSES = EVALUATION / "classes.json"
TEST_CELLS = EVALUATION / "test_cells.json"
PREDICTIONS = EVALUATION / "predictions.csv"
TEST_CELLS_FILE = EVALUATION / "test_cells.h5ad"
"""The test cells over all genes, with labels and donors: candidate and champion are compared on them."""
CALIBRATION = EVALUATION / "calibration.json"
NOVELTY = EVALUATION / "novelty.safetensors"
CONTROL = Path("outputs/control/metrics.json")
REGULATOR_EVIDENCE = Path("outputs/control/regulators.csv")
CONFUSION_PLOT = EVALUATION / "confusion_matrix.png"
RISK_COVERAGE_PLOT = EVALUATION / "risk_coverage.png"
EMBEDDING_PLOT = EVALUATION / "embedding.png"

BUNDLE_FOLDER = Path("outputs/bundle")
REPORT = Path("outputs/report.html")
REGISTRATION = Path("outputs/registration.json")

CARD_TEMPLATE = Path("registry/model_card.md.j2")
POLICY = Path("registry/policy.yaml")

SEARCHES = Path("outputs/tuning")
"""Holds a folder for each hyperparameter search."""
UNSENT = Path("outputs/unsent")
"""Calls to MLflow that could not be sent yet, a file for each run."""
NETWORKS = Path("data/networks")
"""Where `-S prior=NAME` looks for NAME.tsv."""
JOBS = Path("pipelines/jobs")
"""Job files of `sctransformer batch`."""
