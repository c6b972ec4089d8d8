"""Parity of the ONNX graph in onnxruntime with the torch model, and the speed of the graph."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from sctransformer.data.arrays import CellArrays
from sctransformer.export.graph import OUTPUTS, ScoringGraph

SPEED_CELLS = 512
"""Cells of one run of the graph in the speed measurement; cells are repeated if there are fewer."""
SPEED_SECONDS = 1.0


def measure_parity(graph: ScoringGraph, onnx_path: Path, cells: CellArrays, tolerance: float) -> dict[str, Any]:
    """Compare the graph in onnxruntime (CPU) with torch on the same cells.

    Returns:
        cells; labels_equal (number of cells with the same label); max_probability_difference;
        max_embedding_difference; tolerance; and `passed`: all labels are equal and no probability differs by more than
        the tolerance.
    """
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    feeds = {"counts": cells.counts_NG, "library_size": cells.library_size_N}
    probabilities_NC, embedding_NE = (np.asarray(values) for values in session.run(list(OUTPUTS), feeds))
    with torch.no_grad():
        expected = graph.eval()(torch.as_tensor(cells.counts_NG), torch.as_tensor(cells.library_size_N))
    expected_NC, expected_NE = (values.numpy() for values in expected)
    labels_equal = int((probabilities_NC.argmax(axis=1) == expected_NC.argmax(axis=1)).sum())
    difference = float(np.abs(probabilities_NC - expected_NC).max())
    return {
        "cells": len(cells),
        "labels_equal": labels_equal,
        "max_probability_difference": difference,
        "max_embedding_difference": float(np.abs(embedding_NE - expected_NE).max()),
        "tolerance": tolerance,
        "passed": bool(labels_equal == len(cells) and difference <= tolerance),
    }


def measure_speed(onnx_path: Path, cells: CellArrays) -> dict[str, Any]:
    """Throughput of the graph in onnxruntime on this machine's CPU, without reading and writing files.

    Returns:
        cells_per_second (of the fastest run within about one second, because other load only slows runs down), cells
        per run, cpus, and the version of onnxruntime.
    """
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    rows_N = np.arange(SPEED_CELLS) % len(cells)
    feeds = {"counts": cells.counts_NG[rows_N], "library_size": cells.library_size_N[rows_N]}
    session.run(list(OUTPUTS), feeds)
    fastest, first_start = float("inf"), time.perf_counter()
    while fastest == float("inf") or time.perf_counter() - first_start < SPEED_SECONDS:
        started = time.perf_counter()
        session.run(list(OUTPUTS), feeds)
        fastest = min(fastest, time.perf_counter() - started)
    return {
        "cells_per_second": SPEED_CELLS / fastest,
        "cells": SPEED_CELLS,
        "cpus": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
    }
