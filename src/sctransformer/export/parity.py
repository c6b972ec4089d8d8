"""Parity of the ONNX graph in onnxruntime with the torch model, and the speed of the graph."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays
from sctransformer.export.graph import ScoringGraph

PARITY_CELLS = 4096
"""Cells that are compared."""
_BATCH = 64
"""Cells of one comparison: the attention operator needs memory for cells x edges."""
SPEED_CELLS = 512
"""Cells of one run of the graph in the speed measurement; cells are repeated if there are fewer."""
SPEED_SECONDS = 1.0
ACTIVITY_TOLERANCE = 1e-4
"""Largest difference of an activity, relative to its size if that is above 1."""
NOVELTY_TOLERANCE = 1e-2
"""Largest difference of a novelty, of which a validation cell has 0 in the median and about 1 at the threshold."""


def measure_parity(graph: ScoringGraph, onnx_path: Path, cells: CellArrays, tolerance: float) -> dict[str, Any]:
    """Compare the graph in onnxruntime (CPU) with torch on the same cells.

    Args:
        graph: the torch model as it is exported.
        onnx_path: the file.
        cells: of these, at most PARITY_CELLS are compared, evenly spaced.
        tolerance: largest difference of a probability.

    Returns:
        cells; labels_equal (number of cells with the same label); max_probability_difference;
        max_embedding_difference; max_novelty_difference and max_activity_difference (relative above 1) if the graph has
        them; tolerance; and `passed`: all labels are equal, no probability differs by more than the tolerance, no
        novelty by more than NOVELTY_TOLERANCE and no activity by more than ACTIVITY_TOLERANCE.
    """
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    rows_N = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), PARITY_CELLS)).astype(int))
    labels_equal, differences = 0, dict.fromkeys(graph.outputs, 0.0)
    for start in range(0, len(rows_N), _BATCH):
        feeds = feeds_of(session, cells.take(rows_N[start : start + _BATCH]))
        found = dict(zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True))
        with torch.no_grad():
            outputs = graph.eval()(*(torch.as_tensor(feeds[name]) for name in graph.inputs))
        for name, values in zip(graph.outputs, outputs, strict=True):
            difference = _difference(found[name], values.numpy(), name == "activity")
            differences[name] = max(differences[name], difference)
        labels_equal += int((found["probabilities"].argmax(axis=1) == outputs[0].numpy().argmax(axis=1)).sum())
    optional = {f"max_{name}_difference": differences[name] for name in ("novelty", "activity") if name in differences}
    within = (
        differences["probabilities"] <= tolerance
        and differences.get("novelty", 0.0) <= NOVELTY_TOLERANCE
        and differences.get("activity", 0.0) <= ACTIVITY_TOLERANCE
    )
    return {
        "cells": len(rows_N),
        "labels_equal": labels_equal,
        "max_probability_difference": differences["probabilities"],
        "max_embedding_difference": differences["embedding"],
        **optional,
        "tolerance": tolerance,
        "passed": bool(labels_equal == len(rows_N) and within),
    }


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32], relative: bool) -> float:
    """Largest difference, where both are finite; infinite if only one of them is."""
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    size = np.maximum(np.abs(expected), 1.0) if relative else 1.0
    return float(np.nanmax(np.abs(found - expected) / size, initial=0.0))


def feeds_of(session: Any, cells: CellArrays) -> dict[str, Any]:
    """Inputs of a graph for cells of which all genes are measured.

    Args:
        session: an onnxruntime.InferenceSession.
        cells: the cells.
    """
    feeds = {"counts": cells.counts_NG, "library_size": cells.library_size_N}
    if any(port.name == "measured" for port in session.get_inputs()):
        feeds["measured"] = np.ones(cells.n_genes, dtype=np.float32)
    return feeds


def measure_speed(onnx_path: Path, cells: CellArrays) -> dict[str, Any]:
    """Throughput of the graph in onnxruntime on this machine's CPU, without reading and writing files.

    Returns:
        cells_per_second (of the fastest run within about one second, because other load only slows runs down), cells
        per run, cpus, and the version of onnxruntime.
    """
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    rows_N = np.arange(SPEED_CELLS) % len(cells)
    feeds = feeds_of(session, cells.take(rows_N))
    session.run(None, feeds)
    fastest, first_start = float("inf"), time.perf_counter()
    while fastest == float("inf") or time.perf_counter() - first_start < SPEED_SECONDS:
        started = time.perf_counter()
        session.run(None, feeds)
        fastest = min(fastest, time.perf_counter() - started)
    return {
        "cells_per_second": SPEED_CELLS / fastest,
        "cells": SPEED_CELLS,
        "cpus": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
    }
