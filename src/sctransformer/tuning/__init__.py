"""Hyperparameter search: the search space, the search on Ray Tune, one trial, and the runs in MLflow."""
