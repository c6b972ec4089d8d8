"""One short script per stage of dvc.yaml: `python -m sctransformer.pipeline.stages.NAME` in the project's folder."""
