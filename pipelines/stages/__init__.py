"""One short script for each stage of dvc.yaml; run as `python -m pipelines.stages.NAME` from the project's folder."""
