"""Separating the novelty score from a graph, so that a variant in other precision keeps it in float32.

Differences of squares need the digits of float32.
"""

import copy
from typing import Any

import onnx

_INPUT, _OUTPUT, _GIVEN = "measured", "novelty", "probabilities"
_PREFIX = "novelty_"


def without_novelty(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph without the output novelty and the nodes that only it needs."""
    proto = copy.deepcopy(proto)
    graph = proto.graph
    others = [port.name for port in graph.output if port.name != _OUTPUT]
    kept = _nodes_for(graph, set(others), set())
    constants = {value for node in kept for value in node.input}
    _keep(graph.node, kept)
    _keep(graph.output, [port for port in graph.output if port.name != _OUTPUT])
    _keep(graph.input, [port for port in graph.input if port.name != _INPUT])
    _keep(graph.initializer, [constant for constant in graph.initializer if constant.name in constants])
    computed = {value for node in kept for value in node.output}
    _keep(graph.value_info, [info for info in graph.value_info if info.name in computed])
    return proto


def with_novelty(variant: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """The variant with the novelty score of another graph, computed from its probabilities; changed in place.

    Args:
        variant: without novelty, with the inputs and outputs of the graph in float32.
        proto: the float32 graph; one without novelty changes nothing.
    """
    graph = proto.graph
    if not any(port.name == _OUTPUT for port in graph.output):
        return variant
    shared = {port.name for port in graph.input} | {_GIVEN, _OUTPUT, ""}
    nodes = [copy.deepcopy(node) for node in _nodes_for(graph, {_OUTPUT}, {_GIVEN})]
    used = {value for node in nodes for value in node.input}
    for constant in graph.initializer:
        if constant.name in used:
            variant.graph.initializer.add().CopyFrom(constant)
            variant.graph.initializer[-1].name = _PREFIX + constant.name
    for node in nodes:
        node.name = _PREFIX + node.name
        node.input[:] = [value if value in shared else _PREFIX + value for value in node.input]
        node.output[:] = [value if value in shared else _PREFIX + value for value in node.output]
    variant.graph.node.extend(nodes)
    variant.graph.input.extend(port for port in graph.input if port.name == _INPUT)
    variant.graph.output.extend(port for port in graph.output if port.name == _OUTPUT)
    return variant


def _nodes_for(graph: onnx.GraphProto, wanted: set[str], given: set[str]) -> list[onnx.NodeProto]:
    """The nodes from which values are computed, in order, if some values are given."""
    needed, found = set(wanted), []
    for node in reversed(graph.node):  # in order of computation
        if needed & set(node.output):
            needed |= set(node.input) - given
            found.append(node)
    return found[::-1]


def _keep(field: Any, kept: list[Any]) -> None:
    """Replace the content of a repeated field."""
    copies = [copy.deepcopy(item) for item in kept]
    del field[:]
    field.extend(copies)
