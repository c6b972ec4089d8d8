"""Benchmark of the prior against its controls and against baselines, on test cells that choose no parameter."""
