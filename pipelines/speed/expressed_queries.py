"""Would it be faster to compute attention only for genes that a cell expresses? The model does not do this.

    python -m pipelines.speed.expressed_queries                       the example cells and the built-in network
    python -m pipelines.speed.expressed_queries cells.h5ad network.tsv.gz -S model.width=64

Times one regulation layer (attention and feed-forward block, `mask` mode, sizes of params.yaml) in torch on the CPU, on
batches of cells in file order, in two ways. First with all genes of the panel as queries, as in the model. Then only
with the expressed genes of each cell as queries, padded to the maximum of the batch: their tokens and rows of the prior
are gathered, the results are scattered back, and the tokens of other genes do not change. The keys are all regulators
both times, so the results for expressed genes must be equal; the largest difference is printed. The two ways take
turns, and the ratio of the medians counts.
"""

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sctransformer import layout
from sctransformer.annotation.session import BATCH_CELLS
from sctransformer.data.cells import CellFile
from sctransformer.data.gene_map import read_gene_map
from sctransformer.data.genes import identify
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.moments import GeneMoments
from sctransformer.data.panel import LARGEST_DENSE_PANEL, choose_panel
from sctransformer.errors import UserError, run_reporting
from sctransformer.model import Model, ModelConfig
from sctransformer.model.layers import RegulationLayer
from sctransformer.params import Params, load_params, with_overrides
from sctransformer.prior.bias import allowed_pairs, mask_bias
from sctransformer.prior.readers import read_network
from sctransformer.training.build import build_model


@dataclass(frozen=True)
class PanelCounts:
    """Counts over the gene panel that the pipeline would choose if all cells were training cells."""

    counts: sparse.csr_matrix
    library_size_N: NDArray[np.float32]
    panel: pd.DataFrame
    pairs: list[tuple[str, str]]


def read_panel(cells: Path, network: Path, budget: int) -> PanelCounts:
    """Read a file and choose its panel.

    Raises:
        UserError: cells or network cannot be read, or do not match.
    """
    pairs = read_network(network).pairs
    with CellFile(cells) as file:
        identity = identify(file.var, read_gene_map(), str(cells))
        sizes = choose_library_sizes(file.obs, None, str(cells))
        moments, counts, library_sizes = GeneMoments(len(identity.genes)), [], []
        for start, chunk in file.chunks():
            counts.append(identity.gather(chunk))
            library_sizes.append(sizes.of_chunk(start, chunk))
            moments.add(counts[-1], library_sizes[-1])
    panel = choose_panel(moments, identity.genes.tolist(), pairs, budget)
    columns = identity.genes.get_indexer(pd.Index(panel["gene"]))
    whole = sparse.csr_matrix(sparse.vstack(counts, format="csr")[:, columns])
    return PanelCounts(whole, np.concatenate(library_sizes).astype(np.float32), panel, pairs)


def make_model(found: PanelCounts, params: Params) -> Model:
    """A model over the panel with changed weights: with initial weights of zero any two ways would agree."""
    genes, n_regulators = found.panel["gene"].tolist(), int(found.panel["is_regulator"].sum())
    sizes = params.model.model_dump() | {"mode": "mask", "depth": 1}
    config = ModelConfig(n_genes=len(genes), n_regulators=n_regulators, n_classes=2, **sizes)
    prior_HGS = torch.from_numpy(mask_bias(allowed_pairs(found.pairs, genes, n_regulators)))
    model = build_model(config, prior_HGS, 0, found.panel)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().requires_grad_(False)


def expressed(counts_NG: Tensor) -> Tensor:
    """Indices of the expressed genes of each cell, cells x their maximum number, padded with the number of genes."""
    row_P, gene_P = counts_NG.nonzero(as_tuple=True)
    number_N = torch.bincount(row_P, minlength=len(counts_NG))
    place_P = torch.arange(len(row_P)) - (number_N.cumsum(0) - number_N)[row_P]
    gene_NQ = torch.full((len(counts_NG), int(number_N.max())), counts_NG.shape[1])
    gene_NQ[row_P, place_P] = gene_P
    return gene_NQ


def layer_for_expressed(
    layer: RegulationLayer, x_NGD: Tensor, n_keys: int, prior_GS: Tensor, counts_NG: Tensor
) -> Tensor:
    """A regulation layer in which genes that are not expressed are no queries and do not change.

    Args:
        layer, x_NGD, n_keys: as in `RegulationLayer.forward`.
        prior_GS: the prior, shared by all heads.
        counts_NG: raw counts of these genes.
    """
    n_cells, n_genes, width = x_NGD.shape
    attention = layer.attention
    gene_NQ = expressed(counts_NG)
    index_NQD = gene_NQ[:, :, None].expand(-1, -1, width)
    # an extra token and row of the prior, for cells that express fewer genes than others
    padded = torch.cat([x_NGD, torch.zeros(n_cells, 1, width)], dim=1)
    sink_alone_S = mask_bias(np.zeros((1, n_keys), dtype=bool))[0, 0]
    prior_NQS = torch.cat([prior_GS, torch.from_numpy(sink_alone_S)[None]])[gene_NQ]
    token_NQD = padded.gather(1, index_NQD)

    key_NKD, value_NKD = attention.key_value(layer.attention_norm(x_NGD[:, :n_keys])).chunk(2, dim=-1)
    key_NSD = torch.cat([key_NKD, attention.sink_key_D.expand(n_cells, 1, width)], dim=1)
    value_NSD = torch.cat([value_NKD, attention.sink_value_D.expand(n_cells, 1, width)], dim=1)
    query_NQD = attention.query(layer.attention_norm(token_NQD))
    query_NHQd, key_NHSd, value_NHSd = (
        x.view(n_cells, -1, attention.heads, width // attention.heads).transpose(1, 2)
        for x in (query_NQD, key_NSD, value_NSD)
    )
    read_NHQd = scaled_dot_product_attention(query_NHQd, key_NHSd, value_NHSd, attn_mask=prior_NQS[:, None])
    token_NQD = token_NQD + attention.output(read_NHQd.transpose(1, 2).reshape(n_cells, -1, width))
    token_NQD = token_NQD + layer.feedforward(token_NQD)
    return padded.scatter(1, index_NQD, token_NQD)[:, :n_genes]


def measure(found: PanelCounts, params: Params, batch: int, most_cells: int, repeats: int) -> dict[str, Any]:
    """Share of zeros, seconds of both ways and the largest difference, on the first cells of a file."""
    model = make_model(found, params)
    layer = cast(RegulationLayer, model.layers[0])
    prior_HQS = cast(Tensor, model.prior_HQS)
    n_queries = prior_HQS.shape[1]
    n_cells = min(most_cells, found.counts.shape[0])
    parts = [slice(start, min(start + batch, n_cells)) for start in range(0, n_cells, batch)]
    counts = [torch.from_numpy(found.counts[part].toarray().astype(np.float32)) for part in parts]
    sizes = [torch.from_numpy(found.library_size_N[part]) for part in parts]
    seconds: dict[str, list[float]] = {"all": [], "expressed": []}
    differences, padded = [], []
    with torch.no_grad():
        for repeat in range(repeats + 1):
            taken = dict.fromkeys(seconds, 0.0)
            for counts_NG, size_N in zip(counts, sizes, strict=True):
                x_NQD, counts_NQ = model.tokens(counts_NG, size_N)[:, :n_queries], counts_NG[:, :n_queries]
                started = time.perf_counter()
                every_NQD = layer(x_NQD, model.config.n_keys, prior_HQS)
                between = time.perf_counter()
                some_NQD = layer_for_expressed(layer, x_NQD, model.config.n_keys, prior_HQS[0], counts_NQ)
                taken["expressed"] += time.perf_counter() - between
                taken["all"] += between - started
                if not repeat:
                    asks_NQ = counts_NQ > 0
                    differences.append(float((every_NQD - some_NQD)[asks_NQ].abs().max()))
                    padded.append(float(asks_NQ.sum(dim=1).max()) / n_queries)
            if repeat:
                for name, value in taken.items():
                    seconds[name].append(value)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    n_panel = found.counts.shape[0] * found.counts.shape[1]
    return {
        "cells": n_cells,
        "genes": model.config.n_genes,
        "regulators": model.config.n_regulators,
        "genes_in_layers": n_queries,
        "width": model.config.width,
        "batch": batch,
        "zeros": round(1.0 - found.counts.count_nonzero() / n_panel, 4),
        "expressed_in_batch_at_most": round(float(np.mean(padded)), 4),
        "seconds_all": medians["all"],
        "seconds_expressed": medians["expressed"],
        "times_faster": round(medians["all"] / medians["expressed"], 3),
        "largest_difference": max(differences),
    }


def main() -> None:
    """Measure and print a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, nargs="?", default=layout.EXAMPLE_CELLS)
    parser.add_argument("network", type=Path, nargs="?", help="default: prior.network of params.yaml")
    parser.add_argument("--batch", type=int, default=BATCH_CELLS)
    parser.add_argument("--most-cells", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    params = with_overrides(load_params(), options.set)
    if not options.cells.exists():
        raise UserError(f"{options.cells}: no such file; `dvc repro example_data` creates the example cells.")
    budget = params.prepare.gene_budget or LARGEST_DENSE_PANEL
    found = read_panel(options.cells, options.network or params.prior.network, budget)
    measured = measure(found, params, options.batch, options.most_cells, options.repeats)
    print(json.dumps({"file": options.cells.name, "threads": options.threads} | measured))


if __name__ == "__main__":
    run_reporting(main)
