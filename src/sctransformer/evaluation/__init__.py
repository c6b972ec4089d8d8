"""How good a model is: metrics with intervals, calibration, the baseline on the same cells, figures."""
