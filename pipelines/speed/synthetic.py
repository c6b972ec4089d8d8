"""Random cells and a bundle with random weights, to measure speed; the predictions mean nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS, TYPE_MEAN
from sctransformer.annotation.session import BATCH_CELLS
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.export.bundle import BundleContents, label_table, write_bundle
from sctransformer.params import Params

TYPES = 10
NONZERO = 0.1
"""Share of counts that are not zero."""
REGULATOR_SHARE, REGULATED_SHARE = 0.093, 0.54
"""Shares of the panel. Of 1,024 genes chosen for sorted blood cells 95 are regulators in CollecTRI and 554 have one."""
EDGES_PER_GENE = 5
"""Mean number of regulators of a regulated gene."""
BLOCK = 2048
"""Cells simulated at a time."""


def draw_cells(n_cells: int, n_genes: int, seed: int = 0) -> AnnData:
    """Simulate cells of TYPES types: raw counts as CSR, library sizes and labels."""
    rng = np.random.default_rng(seed)
    rate_G = np.exp(rng.normal(np.log(NONZERO) - 0.6, 1.3, n_genes))
    rate_CG = rate_G * np.exp(rng.normal(0.0, 0.7, (TYPES, n_genes)))
    type_N = np.arange(n_cells) % TYPES
    blocks = [
        sparse.csr_matrix(rng.poisson(rate_CG[type_N[start : start + BLOCK]]).astype(np.float32))
        for start in range(0, n_cells, BLOCK)
    ]
    counts = sparse.vstack(blocks, format="csr")
    obs = pd.DataFrame(
        {
            OBS.library_size: np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0).astype(np.float64),
            OBS.cell_type: pd.Categorical([f"type{index}" for index in type_N]),
        },
        index=[f"cell{index}" for index in range(n_cells)],
    )
    return AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"GENE{index}" for index in range(n_genes)]))


def draw_bundle(cells: AnnData, params: Params, folder: Path, panel_genes: int, seed: int = 0) -> None:
    """Write a bundle with the model of params.yaml over a random panel, random weights and a random network."""
    import torch
    from safetensors.torch import save_file

    from sctransformer.data.arrays import CellArrays
    from sctransformer.export.graph import ScoringGraph, export_onnx
    from sctransformer.export.parity import measure_parity
    from sctransformer.model import ActivityTransformer
    from sctransformer.training.build import model_config

    rng = np.random.default_rng(seed)
    columns = rng.permutation(cells.n_vars)[:panel_genes]
    genes, n_regulators = cells.var_names[columns].tolist(), max(1, int(len(columns) * REGULATOR_SHARE))
    few = cells[:BATCH_CELLS, columns].X.toarray()
    sizes_N = cells.obs[OBS.library_size].to_numpy(dtype=np.float32)[:BATCH_CELLS]
    expression_NG = log1p_cp10k(few, sizes_N)
    edges_GR = rng.random((len(genes), n_regulators)) < EDGES_PER_GENE / n_regulators
    edges_GR[max(n_regulators, int(len(genes) * REGULATED_SHARE)) :] = False  # unregulated genes come last
    np.fill_diagonal(edges_GR, False)
    prior = pd.DataFrame([(genes[r], genes[t]) for t, r in np.argwhere(edges_GR)], columns=["regulator", "target"])
    prior = prior.assign(sign=1, confidence=1.0)
    vocabulary = pd.DataFrame(
        {
            "gene": genes,
            "is_regulator": np.arange(len(genes)) < n_regulators,
            "criterion": "variable",
            "mean": expression_NG.mean(axis=0),
            "std": expression_NG.std(axis=0),
        }
    )
    config = model_config(params.model, vocabulary, TYPES, prior_of(params.model, prior, vocabulary))
    model = make_model(config, prior, vocabulary, seed)
    along_edges = isinstance(model, ActivityTransformer)
    if along_edges:
        with torch.no_grad():  # labels and embedding are not random otherwise: they are fitted, not trained
            for values in (model.components_GE, model.classifier.gene_weight_GC, model.classifier.activity_weight_RC):
                values.normal_(std=0.01)
    graph = ScoringGraph(model, temperature=1.0)
    contents = BundleContents(
        config=config.to_dict(),
        vocabulary=vocabulary,
        prior=prior,
        labels=label_table([f"type{index}" for index in range(TYPES)], {}),
        calibration={"temperature": 1.0, "rejection_threshold": 0.0, "rejection_error": 0.05},
        reference={},
        metrics={},
        lineage={},
        card="# Random weights, for measuring speed\n",
        write_weights=lambda path: save_file(model.state_dict(), path),
        write_graph=lambda path: export_onnx(graph, path, params.export.opset),
        write_edges_graph=(
            (lambda path: export_onnx(graph, path, params.export.opset, along_edges=True)) if along_edges else None
        ),
        regulators=_regulator_table(model.edges, rng) if along_edges else None,
        measure_parity=lambda path: measure_parity(
            graph, path, CellArrays(few, sizes_N, np.zeros(len(few), dtype=np.int64)), params.export.parity_tolerance
        ),
    )
    write_bundle(folder, contents)


def _regulator_table(edges: Any, rng: np.random.Generator) -> pd.DataFrame:
    """The columns of `Bundle.regulators` that annotation reads; the means of types are random."""
    targets_R = np.bincount(edges.regulator_J, minlength=edges.n_regulators)
    table = pd.DataFrame({"regulator": edges.regulators, "targets": targets_R, "mean": 0.0, "std": 1.0})
    means_RC = rng.normal(size=(len(table), TYPES))
    return table.assign(**{f"{TYPE_MEAN}type{index}": means_RC[:, index] for index in range(TYPES)})


def make_model(config: Any, prior: pd.DataFrame, vocabulary: pd.DataFrame, seed: int = 0) -> Any:
    """A torch model with random weights for the vocabulary and prior of a bundle."""
    from sctransformer.training.build import build_model

    return build_model(config, prior_of(config, prior, vocabulary), seed, vocabulary).eval()


def prior_of(settings: Any, prior: pd.DataFrame, vocabulary: pd.DataFrame) -> Any:
    """The attention prior of a bundle's edges."""
    from sctransformer.prior.network import Network
    from sctransformer.training.build import network_prior

    n_regulators = int(vocabulary["is_regulator"].sum())
    return network_prior(settings, Network(prior), vocabulary["gene"].tolist(), n_regulators)
