"""Drift: batches compared with the training cells of the model that labelled them. Does not use MLflow."""
