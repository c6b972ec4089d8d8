"""The science: what the prior adds, measured against its controls and baselines on cells that chose nothing."""
