"""Evaluation of a model: metrics with intervals, calibration, baselines on the same cells, plots."""
