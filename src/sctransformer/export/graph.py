"""The ONNX graph from raw counts to probabilities, embedding, novelty and activities, with the prior in its attention.

A model of activities has two graphs of the same function: one with the standard `Attention` operator, which any runtime
can open, and one along the edges of the network, which is faster on a CPU.
"""

import contextlib
import copy
import functools
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from sctransformer.errors import UserError
from sctransformer.evaluation.novelty_score import NoveltyScore
from sctransformer.export.edge_nodes import ACTIVITY, EXPRESSION, add_activities
from sctransformer.files import atomic_write
from sctransformer.model import ActivityTransformer, Model
from sctransformer.model.output import ModelOutput
from sctransformer.model.tokens import log_normalise

INPUTS = ("counts", "library_size", "measured")
"""A graph with neither novelty nor activities lacks the last input."""


class ScoringGraph(nn.Module):
    """The exported computation: the model (with normalisation), calibration, softmax and the novelty score."""

    def __init__(self, model: Model, temperature: float, novelty: NoveltyScore | None = None) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.novelty = novelty

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return INPUTS if self.novelty is not None or self._has_activity else INPUTS[:-1]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        optional = (("novelty", self.novelty is not None), ("activity", self._has_activity))
        return ("probabilities", "embedding", *(name for name, present in optional if present))

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        return _example(self.model.config.n_genes)[: len(self.inputs)]

    def dynamic_shapes(self, cells: Any) -> tuple[Any, ...]:
        """The dimensions of the inputs that are numbers of cells."""
        return ({0: cells}, {0: cells}, None)[: len(self.inputs)]

    @property
    def _has_activity(self) -> bool:
        return isinstance(self.model, ActivityTransformer)

    def forward(
        self, counts_NG: Tensor, library_size_N: Tensor, measured_G: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Calibrated probabilities (cells x classes), embedding (cells x E), novelty, activity (cells x regulators).

        Args:
            counts_NG: raw counts.
            library_size_N: total counts of each cell.
            measured_G: 1 for a measured gene, 0 for a gene whose counts are filled in, which novelty and activities
                ignore; None if the graph has neither.
        """
        if isinstance(self.model, ActivityTransformer):
            output = self.model(counts_NG, library_size_N, measured_G)
        else:
            output = self.model(counts_NG, library_size_N)
        outputs = self.from_output(output, log_normalise(counts_NG, library_size_N), measured_G)
        return outputs if output.activity_NR is None else (*outputs, output.activity_NR)

    def from_output(self, output: ModelOutput, expression_NG: Tensor, measured_G: Tensor | None) -> tuple[Tensor, ...]:
        """All outputs but the activities, from what the model computes and from log1p of counts per 10,000."""
        probabilities_NC = torch.softmax(output.logits_NC / self.temperature, dim=-1)
        if self.novelty is None:
            return probabilities_NC, output.embedding_NE
        assert measured_G is not None
        return probabilities_NC, output.embedding_NE, self.novelty(expression_NG, probabilities_NC, measured_G)


class OnnxExport:
    """Writes the ONNX graphs of one model, which is traced once; the number of cells is dynamic.

    Args:
        graph: what is exported.
        opset: version of the ONNX operators.
    """

    def __init__(self, graph: ScoringGraph, opset: int) -> None:
        graph = copy.deepcopy(graph).eval().requires_grad_(False)
        graph.model.fold_scales()
        self._model, self._opset = graph.model, opset
        self._graph = _FromActivity(graph, graph.model) if isinstance(graph.model, ActivityTransformer) else graph

    @functools.cached_property
    def _traced(self) -> onnx.ModelProto:
        return _traced(self._graph, self._opset)

    def write(self, target: Path, along_edges: bool = False) -> None:
        """Write a graph.

        Attention becomes the standard `Attention` operator (ONNX opset 23); its fourth input holds the prior.

        Args:
            target: file to write.
            along_edges: for a model of activities, compute attention along the edges instead of with the operator.

        Raises:
            UserError: the exporter split attention into smaller operators.
        """
        proto, config = onnx.ModelProto(), self._model.config
        proto.CopyFrom(self._traced)
        if isinstance(self._model, ActivityTransformer):
            add_activities(proto, self._model, along_edges)
        found = sum(is_attention(node, with_bias=config.uses_edges) for node in proto.graph.node)
        if found < config.depth and not along_edges:
            kind = " with a bias" if config.uses_edges else ""
            raise UserError(
                f"the ONNX graph holds {found} Attention operators{kind}; expected {config.depth}, one per layer."
            )
        with atomic_write(target) as temporary:
            onnx.save(_without_traces(proto), temporary)


def export_onnx(graph: ScoringGraph, target: Path, opset: int, along_edges: bool = False) -> None:
    """Write one ONNX graph of a model, see `OnnxExport`."""
    OnnxExport(graph, opset).write(target, along_edges)


class _FromActivity(nn.Module):
    """The graph without its attention: the activities are an input, and standardised expression is an output."""

    def __init__(self, graph: ScoringGraph, model: ActivityTransformer) -> None:
        super().__init__()
        self.scoring, self.model = graph, model  # `graph` is an attribute of the modules that torch exports
        self.inputs = (*INPUTS, ACTIVITY)
        self.outputs = (*graph.outputs[:-1], EXPRESSION)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        config = self.model.config
        return (*_example(config.n_genes), torch.ones(config.n_regulators, 3))

    def dynamic_shapes(self, cells: Any) -> tuple[Any, ...]:
        """The dimensions of the inputs that are numbers of cells."""
        return {0: cells}, {0: cells}, None, {1: cells}

    def forward(
        self, counts_NG: Tensor, library_size_N: Tensor, measured_G: Tensor, activity_RN: Tensor
    ) -> tuple[Tensor, ...]:
        expression_NG = log_normalise(counts_NG, library_size_N)  # once: it is a large part of the time
        centred_NG = expression_NG - self.model.tokens.mean_G
        output = self.model.from_activity(centred_NG, activity_RN)
        outputs = self.scoring.from_output(output, expression_NG, measured_G)
        return (*outputs, self.model.tokens.clipped(centred_NG))


def _example(n_genes: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ones(3, n_genes), torch.full((3,), float(n_genes)), torch.ones(n_genes)


def _traced(graph: "ScoringGraph | _FromActivity", opset: int) -> onnx.ModelProto:
    """The graph as torch exports it.

    Raises:
        UserError: torch returned no graph.
    """
    cells = torch.export.Dim("cells", min=1)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            graph.example(),
            dynamo=True,
            opset_version=opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=graph.dynamic_shapes(cells),
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise UserError("the ONNX exporter returned no graph.")
    return program.model_proto


def is_attention(node: onnx.NodeProto, with_bias: bool) -> bool:
    """Whether a node is the standard Attention operator; with `with_bias`, its fourth input (the bias) must be set."""
    biased = len(node.input) > 3 and node.input[3] != ""
    return node.op_type == "Attention" and node.domain in ("", "ai.onnx") and (biased or not with_bias)


def _without_traces(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's source locations: they contain local paths and do not affect the computation."""
    graph = proto.graph
    del graph.metadata_props[:], proto.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    return proto
