"""One ONNX graph from raw counts and library size to probabilities, embedding and novelty, with the prior bias."""

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from sctransformer.errors import UserError
from sctransformer.evaluation.novelty_score import NoveltyScore
from sctransformer.files import atomic_write
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.tokens import log_normalise

INPUTS = ("counts", "library_size", "measured")
OUTPUTS = ("probabilities", "embedding", "novelty")
"""A graph without novelty lacks the last input and the last output."""


class ScoringGraph(nn.Module):
    """The exported computation: the model (with normalisation), calibration, softmax and the novelty score."""

    def __init__(self, model: PriorBiasedTransformer, temperature: float, novelty: NoveltyScore | None = None) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.novelty = novelty

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return INPUTS if self.novelty is not None else INPUTS[:-1]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return OUTPUTS if self.novelty is not None else OUTPUTS[:-1]

    def forward(
        self, counts_NG: Tensor, library_size_N: Tensor, measured_G: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Calibrated probabilities (cells x classes), embedding (cells x E) and novelty of each cell.

        Args:
            counts_NG: raw counts.
            library_size_N: total counts of each cell.
            measured_G: 1 for a measured gene, 0 for a gene whose counts are filled in, which novelty ignores; None if
                there is no novelty score.
        """
        output = self.model(counts_NG, library_size_N)
        probabilities_NC = torch.softmax(output.logits_NC / self.temperature, dim=-1)
        if self.novelty is None:
            return probabilities_NC, output.embedding_NE
        assert measured_G is not None
        expression_NG = log_normalise(counts_NG, library_size_N)
        return probabilities_NC, output.embedding_NE, self.novelty(expression_NG, probabilities_NC, measured_G)


def export_onnx(graph: ScoringGraph, target: Path, opset: int) -> None:
    """Write the ONNX graph; the number of cells is dynamic.

    Attention becomes the standard `Attention` operator (ONNX opset 23); its fourth input is the prior bias, a constant.

    Raises:
        UserError: the exporter split attention into smaller operators.
    """
    graph = copy.deepcopy(graph).eval().requires_grad_(False)
    graph.model.fold_scales()
    config = graph.model.config
    n_genes = config.n_genes
    example = (torch.ones(3, n_genes), torch.full((3,), float(n_genes)), torch.ones(n_genes))[: len(graph.inputs)]
    cells = torch.export.Dim("cells", min=1)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=({0: cells}, {0: cells}, None)[: len(graph.inputs)],
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise UserError("the ONNX exporter returned no graph.")
    found = sum(is_attention(node, with_bias=config.uses_edges) for node in program.model_proto.graph.node)
    if found < config.depth:
        kind = " with a bias" if config.uses_edges else ""
        raise UserError(
            f"the ONNX graph holds {found} Attention operators{kind}; expected {config.depth}, one per layer."
        )
    with atomic_write(target) as temporary:
        onnx.save(_without_traces(program.model_proto), temporary)


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
