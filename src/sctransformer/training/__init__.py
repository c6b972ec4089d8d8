"""Objectives, the epoch loop and checkpoints, with torch alone. `cluster` is the one file that imports ray.train."""
