"""Parity of the ONNX graph in onnxruntime with the torch model, and the speed of the graph."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from sctransformer.data.arrays import CellArrays
from sctransformer.export.graph import ScoringGraph

SPEED_CELLS = 512
"""Cells of one run of the graph in the speed measurement; cells are repeated if there are fewer."""
SPEED_SECONDS = 1.0
NOVELTY_TOLERANCE = 1e-2
"""Largest difference of a novelty, of which a validation cell has 0 in the median and about 1 at the threshold."""


def measure_parity(graph: ScoringGraph, onnx_path: Path, cells: CellArrays, tolerance: float) -> dict[str, Any]:
    """Compare the graph in onnxruntime (CPU) with torch on the same cells.

    Returns:
        cells; labels_equal (number of cells with the same label); max_probability_difference;
        max_embedding_difference; max_novelty_difference if the graph has novelty; tolerance; and `passed`: all labels
        are equal, no probability differs by more than the tolerance and no novelty by more than NOVELTY_TOLERANCE.
    """
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    feeds = feeds_of(session, cells)
    found = dict(zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True))
    with torch.no_grad():
        outputs = graph.eval()(*(torch.as_tensor(feeds[name]) for name in graph.inputs))
    expected = {name: values.numpy() for name, values in zip(graph.outputs, outputs, strict=True)}
    differences = {name: float(np.abs(found[name] - expected[name]).max()) for name in graph.outputs}
    probabilities_NC, expected_NC = found["probabilities"], expected["probabilities"]
    labels_equal = int((probabilities_NC.argmax(axis=1) == expected_NC.argmax(axis=1)).sum())
    novelty = {"max_novelty_difference": differences["novelty"]} if "novelty" in differences else {}
    within = differences["probabilities"] <= tolerance and differences.get("novelty", 0.0) <= NOVELTY_TOLERANCE
    return {
        "cells": len(cells),
        "labels_equal": labels_equal,
        "max_probability_difference": differences["probabilities"],
        "max_embedding_difference": differences["embedding"],
        **novelty,
        "tolerance": tolerance,
        "passed": bool(labels_equal == len(cells) and within),
    }


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
