"""Edge attention as ONNX nodes, in two forms: with the standard `Attention` operator, and along the edges.

torch's exporter would trace every bucket of every layer and take most of a minute.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sctransformer._constants import CLIP
from sctransformer.model import ActivityTransformer
from sctransformer.model.edge_attention import EPSILON, LARGEST_SCORE, EdgeAttention
from sctransformer.prior.bias import CLOSED

ACTIVITY, OUTPUT = "activity_RN", "activity"
"""The value that the rest of the graph reads, and the output, which is NaN for a regulator without measured targets."""
EXPRESSION, VALUE = "z_NG", "value_GN"
"""Standardised expression, which the rest of the graph computes, and that relative to the mean of the cell's measured
genes, genes first."""


class _Nodes:
    """Nodes and constants of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any] | Sequence[int] | float) -> str:
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"edges_c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        name = name or f"edges_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{name}_node", **attributes))
        return name


def add_activities(proto: onnx.ModelProto, model: ActivityTransformer, along_edges: bool) -> onnx.ModelProto:
    """Complete a graph that takes the activities as an input and gives the expression as an output; in place.

    Args:
        proto: with the input ACTIVITY and the output EXPRESSION, which are replaced; its input `measured` is used.
        model: whose attention it is.
        along_edges: which of the two forms.
    """
    nodes = _Nodes()
    layers: list[EdgeAttention] = list(model.activities)  # type: ignore[arg-type]
    messages: list[EdgeAttention] = list(model.messages)  # type: ignore[arg-type]
    z_GN = _relative(nodes, model)
    value_GN, activity_RN, root_R1 = z_GN, "", ""
    for index, layer in enumerate(layers):
        if index:
            message_GN, _ = _attention(nodes, messages[index - 1], activity_RN, None, along_edges)
            value_GN = nodes.add("Add", z_GN, message_GN)
        is_last = index == len(layers) - 1
        activity_RN, root_R1 = _attention(
            nodes, layer, value_GN, "measured", along_edges, ACTIVITY if is_last else None
        )
    is_known_R1 = nodes.add("Greater", root_R1, nodes.constant(0.0))
    known_RN = nodes.add("Where", is_known_R1, activity_RN, nodes.constant(float("nan")))
    nodes.add("Transpose", known_RN, name=OUTPUT, perm=[1, 0])

    graph = proto.graph
    for field, name in ((graph.input, ACTIVITY), (graph.output, EXPRESSION)):
        kept = [port for port in field if port.name != name]
        del field[:]
        field.extend(kept)
    cells = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [cells, model.config.n_regulators])
    )
    ordered = list(_in_order([*graph.node, *nodes.nodes], graph, nodes.constants))
    del graph.node[:]
    graph.node.extend(ordered)
    graph.initializer.extend(nodes.constants)
    return proto


def _relative(nodes: _Nodes, model: ActivityTransformer) -> str:
    """`ActivityTransformer.relative`, except for unmeasured genes, which no regulator reads."""
    varies_G = model.tokens.varies_G.numpy()
    open_G1 = nodes.add("Unsqueeze", "measured", nodes.constant([1]))
    if not varies_G.all():
        open_G1 = nodes.add("Mul", open_G1, nodes.constant(varies_G[:, None].astype(np.float32)))
    number_11 = nodes.add("ReduceSum", open_G1, nodes.constant([0]), keepdims=1)
    share_G1 = nodes.add("Div", open_G1, nodes.add("Max", number_11, nodes.constant(1.0)))
    mean_N1 = nodes.add("MatMul", EXPRESSION, share_G1)
    relative_GN = nodes.add("Transpose", nodes.add("Sub", EXPRESSION, mean_N1), perm=[1, 0], name=VALUE)
    return relative_GN if varies_G.all() else nodes.add("Mul", relative_GN, open_G1)


class _Bucket(NamedTuple):
    """The edges of queries with about the same number of keys. Q: queries, J: edges per query."""

    keys: str
    """Name of the positions of the keys, Q x J."""
    scores: str
    """Name of the scores, Q x J."""
    slope_QJ: NDArray[np.float32]
    """Change of a score by a unit of the value."""
    weight_QJ: NDArray[np.float32]
    """Weight of the value in the message."""
    bound: float
    """Largest score."""


def _attention(
    nodes: _Nodes,
    attention: EdgeAttention,
    value_KN: str,
    shown_K: str | None,
    along_edges: bool,
    name: str | None = None,
) -> tuple[str, str]:
    """Output (queries x cells), and the root of the number of shown keys (queries x 1), of an edge attention."""
    outputs, roots = [], []
    form = _along_edges if along_edges else _with_operator
    value_NK = "" if along_edges else nodes.add("Transpose", value_KN, perm=[1, 0])
    for bucket, edges in attention.constants():
        key_QJ, open_QJ = bucket.key_QJ.numpy(), bucket.open_QJ.numpy()
        score_QJ, slope_QJ, weight_QJ = (values.numpy() for values in edges)
        keys = nodes.constant(key_QJ)
        if shown_K is None:
            root_Q1 = nodes.constant(np.sqrt(open_QJ.sum(axis=1, keepdims=True)))
            scores = nodes.constant(score_QJ)
        else:
            shown_QJ = nodes.add("Gather", shown_K, keys, axis=0)
            open_shown_QJ = nodes.add("Mul", shown_QJ, nodes.constant(open_QJ))
            root_Q1 = nodes.add("Sqrt", nodes.add("ReduceSum", open_shown_QJ, nodes.constant([1]), keepdims=1))
            # a gene that is not measured is closed like padding
            hidden_QJ = nodes.add("Sub", shown_QJ, nodes.constant(1.0))
            closed_QJ = nodes.add("Mul", hidden_QJ, nodes.constant(-CLOSED))
            scores = nodes.add("Add", closed_QJ, nodes.constant(score_QJ))
        # activities, and expression with messages, are not clipped
        largest = 2.0 * CLIP if value_KN == VALUE else (np.inf if slope_QJ.any() else 0.0)
        bound = float(np.abs(np.where(open_QJ > 0, score_QJ, 0.0)).max() + largest * np.abs(slope_QJ).max())
        output_QN = form(
            nodes, value_KN if along_edges else value_NK, _Bucket(keys, scores, slope_QJ, weight_QJ, bound)
        )
        outputs.append(nodes.add("Mul", output_QN, root_Q1))
        roots.append(root_Q1)
    order = nodes.constant(attention.order_Q.numpy())
    zero_1N = nodes.add("Mul", nodes.add("Gather", value_KN, nodes.constant([0]), axis=0), nodes.constant(0.0))
    output_QN = nodes.add("Gather", nodes.add("Concat", *outputs, zero_1N, axis=0), order, axis=0, name=name)
    zero_11 = nodes.constant(np.zeros((1, 1), dtype=np.float32))
    return output_QN, nodes.add("Gather", nodes.add("Concat", *roots, zero_11, axis=0), order, axis=0)


def _along_edges(nodes: _Nodes, value_KN: str, bucket: _Bucket) -> str:
    """Cells last, so that gathered rows are contiguous: one exp per edge, and two sums as matrix products."""
    value_QJN = nodes.add("Gather", value_KN, bucket.keys, axis=0)
    score_QJ1 = nodes.add("Unsqueeze", bucket.scores, nodes.constant([2]))
    score_QJN = nodes.add("Add", nodes.add("Mul", value_QJN, nodes.constant(bucket.slope_QJ[:, :, None])), score_QJ1)
    if bucket.bound > LARGEST_SCORE:
        score_QJN = nodes.add("Min", score_QJN, nodes.constant(LARGEST_SCORE))
    p_QJN = nodes.add("Exp", score_QJN)
    message_QJN = nodes.add("Mul", p_QJN, value_QJN)
    total_Q1N = nodes.add("MatMul", nodes.constant(bucket.weight_QJ[:, None, :]), message_QJN)
    sum_Q1N = nodes.add("MatMul", nodes.constant(np.ones_like(bucket.weight_QJ[:, None, :])), p_QJN)
    divided = nodes.add("Div", total_Q1N, nodes.add("Add", sum_Q1N, nodes.constant(EPSILON)))
    return nodes.add("Squeeze", divided, nodes.constant([1]))


def _with_operator(nodes: _Nodes, value_NK: str, bucket: _Bucket) -> str:
    """Each query is a head with one query, whose keys and values have width 1; the prior is the bias of the scores."""
    value_NQJ = nodes.add("Gather", value_NK, bucket.keys, axis=1)
    last = nodes.constant([3])
    key_NQJ1 = nodes.add("Unsqueeze", nodes.add("Mul", value_NQJ, nodes.constant(bucket.slope_QJ)), last)
    message_NQJ1 = nodes.add("Unsqueeze", nodes.add("Mul", value_NQJ, nodes.constant(bucket.weight_QJ)), last)
    shape = nodes.add("Shape", value_NQJ, start=0, end=2)
    query_shape = nodes.add("Concat", shape, nodes.constant([1, 1]), axis=0)
    query_NQ11 = nodes.add("Expand", nodes.constant(np.ones((1, 1, 1, 1), dtype=np.float32)), query_shape)
    bias_1Q1J = nodes.add("Unsqueeze", bucket.scores, nodes.constant([0, 2]))
    output_NQ11 = nodes.add("Attention", query_NQ11, key_NQJ1, message_NQJ1, bias_1Q1J, scale=1.0)
    output_NQ = nodes.add("Squeeze", output_NQ11, nodes.constant([2, 3]))
    return nodes.add("Transpose", output_NQ, perm=[1, 0])


def _in_order(
    nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto, constants: Sequence[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """The nodes in an order in which each comes after those that it reads."""
    known = {port.name for port in graph.input} | {one.name for one in (*graph.initializer, *constants)} | {""}
    waiting = list(nodes)
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, "the graph has a circle"
        for node in ready:
            known |= set(node.output)
        waiting = [node for node in waiting if not any(node is one for one in ready)]
        yield from ready
