"""The pipeline that DVC runs: its stages, the tracked training run, experiments, search and the demo."""
