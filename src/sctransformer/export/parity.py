"""Parity: whether onnxruntime says what torch says."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from sctransformer.data.arrays import CellArrays
from sctransformer.export.graph import OUTPUTS, ScoringGraph


def measure_parity(graph: ScoringGraph, onnx_path: Path, cells: CellArrays, tolerance: float) -> dict[str, Any]:
    """Compare the graph in onnxruntime (CPU) with torch on the same cells.

    Returns:
        cells; labels_equal (number of cells with the same label); largest difference of a probability and of an
        embedding value; tolerance; and `passed`: every label the same, no probability further apart than the tolerance.
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
