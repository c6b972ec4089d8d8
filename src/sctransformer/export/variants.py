"""Variants of the scoring graph: attention as an operator of onnxruntime, half precision, 8-bit weights.

Each variant is made from the float32 graph, and is kept only if its predictions are within a tolerance.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sctransformer._constants import VARIANTS
from sctransformer.data.arrays import CellArrays
from sctransformer.errors import one_line
from sctransformer.export.novelty_nodes import with_novelty, without_novelty
from sctransformer.export.parity import feeds_of
from sctransformer.files import atomic_write
from sctransformer.model import ModelConfig

_PREPARED = "Clip"
"""The last `Clip` ends normalisation, which stays in float32: counts times 10,000 exceed the range of float16."""


class Tolerance(NamedTuple):
    """How much a variant may differ from the float32 graph on validation cells."""

    labels_equal: float
    """Smallest share of equal labels."""
    probability: float
    """Largest difference of a probability."""


TOLERANCES = {
    "mha": Tolerance(1.0, 1e-5),
    "float16": Tolerance(0.995, 0.02),
    "int8": Tolerance(0.99, 0.1),
}


def make_variant(kind: str, source: Path, target: Path, config: ModelConfig) -> None:
    """Write a variant of the graph; novelty is computed in float32 in all variants.

    Args:
        kind: one of VARIANTS.
        source: the float32 graph.
        target: file of the variant.
        config: configuration of the model.
    """
    makers: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        "mha": lambda proto: with_multi_head_attention(proto, config),
        "float16": _half_precision,
        "int8": _eight_bits,
    }
    proto = onnx.load(source)
    with atomic_write(target) as temporary:
        onnx.save(with_novelty(makers[kind](without_novelty(proto)), proto), temporary)


def with_multi_head_attention(proto: onnx.ModelProto, config: ModelConfig) -> onnx.ModelProto:
    """Replace each `Attention` with `com.microsoft.MultiHeadAttention`; the prior becomes its `attention_bias`.

    For versions and execution providers of onnxruntime that have no kernel for the standard operator.
    """
    graph, nodes, seen = proto.graph, [], 0
    width = np.array([0, 0, -1], dtype=np.int64)
    graph.initializer.append(numpy_helper.from_array(width, "mha_joined"))
    for node in graph.node:
        if node.op_type != "Attention" or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        heads = config.heads if seen < config.depth else 1  # the readout has one head and many queries
        name, seen = f"mha_{seen}", seen + 1
        split = np.array([0, 0, heads, -1], dtype=np.int64)
        graph.initializer.append(numpy_helper.from_array(split, f"{name}_split"))
        joined = []
        for part, value in zip("qkv", node.input[:3], strict=True):
            nodes.append(helper.make_node("Transpose", [value], [f"{name}_{part}t"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{name}_{part}t", "mha_joined"], [f"{name}_{part}"]))
            joined.append(f"{name}_{part}")
        bias = node.input[3] if len(node.input) > 3 else ""
        inputs = [*joined, "", "", bias] if bias else joined
        nodes.append(
            helper.make_node(
                "MultiHeadAttention", inputs, [f"{name}_o"], name=name, domain="com.microsoft", num_heads=heads
            )
        )
        nodes.append(helper.make_node("Reshape", [f"{name}_o", f"{name}_split"], [f"{name}_ot"]))
        nodes.append(helper.make_node("Transpose", [f"{name}_ot"], [node.output[0]], perm=[0, 2, 1, 3]))
    del graph.node[:]
    graph.node.extend(nodes)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


def _half_precision(proto: onnx.ModelProto) -> onnx.ModelProto:
    """float16 from tokens to class scores; normalisation, softmax, inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for index, node in enumerate(proto.graph.node):
        node.name = node.name or f"node_{index}"
    last = max(index for index, node in enumerate(proto.graph.node) if node.op_type == _PREPARED)
    needed, kept = set(proto.graph.node[last].output), []
    for node in reversed(proto.graph.node[: last + 1]):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node.name)
    kept += [node.name for node in proto.graph.node if node.op_type == "Softmax"]
    _own_constants(proto, set(kept))
    converted: onnx.ModelProto = convert_float_to_float16(
        proto, keep_io_types=True, node_block_list=kept, disable_shape_infer=False
    )
    return converted


def _own_constants(proto: onnx.ModelProto, names: set[str]) -> None:
    """Give each of these nodes its own copy of its constants: the converter would cast a shared one twice."""
    constants = {constant.name: constant for constant in proto.graph.initializer}
    for node in proto.graph.node:
        for index, value in enumerate(node.input if node.name in names else ()):
            if value in constants:
                own = onnx.TensorProto()
                own.CopyFrom(constants[value])
                own.name = f"{node.name}_{index}_{value}"
                proto.graph.initializer.append(own)
                node.input[index] = own.name


def _eight_bits(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of matrix products as 8-bit integers, activations quantised dynamically."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del proto.graph.value_info[:]  # shapes are inferred again, with other names of dimensions
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # its advice on the root logger does not apply here
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "int8.onnx"
            quantize_dynamic(
                proto, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"]
            )
            return onnx.load(target)
    finally:
        root.setLevel(level)


def measure_variant(reference: Path, variant: Path, cells: CellArrays, tolerance: Tolerance) -> dict[str, Any]:
    """Compare a variant with the float32 graph, both in onnxruntime on the CPU.

    Returns:
        cells, labels_equal (share), max_probability_difference, max_novelty_difference if the graph has novelty, the
        tolerances, and `passed`; `error` if onnxruntime cannot run the variant.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    summary = {"labels_equal_minimum": tolerance.labels_equal, "tolerance": tolerance.probability, "cells": len(cells)}

    def outputs(path: Path) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        values = session.run(names, feeds_of(session, cells))
        return {name: np.asarray(value, dtype=np.float64) for name, value in zip(names, values, strict=True)}

    try:
        expected, found = outputs(reference), outputs(variant)
    except Exception as error:  # onnxruntime has no public base class for its errors
        return {**summary, "error": one_line(error), "passed": False}
    expected_NC, found_NC = expected["probabilities"], found["probabilities"]
    equal = float((expected_NC.argmax(axis=1) == found_NC.argmax(axis=1)).mean())
    difference = float(np.abs(expected_NC - found_NC).max())
    passed = equal >= tolerance.labels_equal and difference <= tolerance.probability
    if "novelty" in expected:
        summary["max_novelty_difference"] = float(np.abs(expected["novelty"] - found["novelty"]).max())
    return {**summary, "labels_equal": equal, "max_probability_difference": difference, "passed": bool(passed)}


def make_variants(
    kinds: tuple[str, ...], folder: Path, graph: str, config: ModelConfig, cells: CellArrays
) -> dict[str, dict[str, Any]]:
    """Make variants of a graph and remove those that do not pass.

    Args:
        kinds: names from VARIANTS.
        folder: folder of the float32 graph, where the variants are written.
        graph: file name of the float32 graph.
        config: configuration of the model.
        cells: validation cells.

    Returns:
        The result of `measure_variant` for each variant, kept or not.
    """
    results = {}
    for kind in kinds:
        path = folder / VARIANTS[kind]
        make_variant(kind, folder / graph, path, config)
        results[kind] = measure_variant(folder / graph, path, cells, TOLERANCES[kind])
        if not results[kind]["passed"]:
            path.unlink()
    return results
