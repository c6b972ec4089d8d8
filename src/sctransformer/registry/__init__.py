"""Models in MLflow: registered bundles, gates, promotions and their ledger, lineage, model cards."""

import sctransformer.tracking  # noqa: F401  sets MLflow's environment before any module of this package imports mlflow
