"""Simulated cells whose genes follow a network with known activities, and small models of activities."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.evaluation.reference import reference_profile
from sctransformer.evaluation.regulators import regulator_table, type_statistics
from sctransformer.export.bundle import BundleContents, write_bundle
from sctransformer.export.graph import OnnxExport, ScoringGraph
from sctransformer.model import ActivityTransformer, ModelConfig
from sctransformer.prior.edge_list import EdgeList, edge_list
from sctransformer.prior.network import Network
from sctransformer.training.closed_form import train_whole
from sctransformer.training.config import TrainConfig
from sctransformer.training.label_settings import LabelSettings
from tests.conftest import EDGES, GENES, LABELS, arrays, bundle_contents, expression, simulated_cells

SIGNED_EDGES = pd.DataFrame(
    {
        "regulator": [*(regulator for regulator, _ in EDGES), *["OUTSIDE"] * 6],
        "target": [*(target for _, target in EDGES), *GENES[6:12]],
        "sign": [(1, -1, 0)[index % 3] for index in range(len(EDGES) + 6)],
        "confidence": [(1.0, 0.7, 0.4)[index // 3 % 3] for index in range(len(EDGES) + 6)],
        "sources": "test",
    }
)
"""Edges of four regulators of the simulated cells, and of one that is not among their genes."""


def edges_of_panel(mode: str = "mask", edges: pd.DataFrame = SIGNED_EDGES) -> EdgeList:
    """Edges over GENES."""
    return edge_list(edges.to_dict("list"), GENES, mode)


def small_activity_model(
    seed: int = 0, depth: int = 1, mode: str = "mask", edges: pd.DataFrame = SIGNED_EDGES
) -> ActivityTransformer:
    """An untrained model of activities over GENES; expression is standardised with the simulated cells."""
    torch.manual_seed(seed)
    prior = edges_of_panel(mode, edges)
    model = activity_model(prior, mode=mode, depth=depth)
    expression_NG = expression(arrays(simulated_cells()))
    model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
    return model


def activity_model(edges: EdgeList, **sizes: object) -> ActivityTransformer:
    """An untrained model of three classes along these edges."""
    values = {"direction": "targets", "n_classes": 3, "embedding": 8, "factors": 4} | sizes
    return ActivityTransformer(ModelConfig(n_genes=edges.n_genes, n_regulators=edges.n_regulators, **values), edges)


class RegulatedCells(NamedTuple):
    """Cells, the network that their genes follow, and the activities that they were simulated with."""

    cells: CellArrays
    genes: list[str]
    network: Network
    activity_NR: NDArray[np.float64]

    def model(self, network: Network | None = None, **sizes: object) -> ActivityTransformer:
        """A model along this or another network, with the expression statistics of these cells."""
        edges = edge_list((network or self.network).edges.to_dict("list"), self.genes, "mask")
        model = activity_model(edges, **sizes)
        expression_NG = expression(self.cells)
        model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
        return model


def regulated_cells(
    n_cells: int = 200, n_regulators: int = 8, n_targets: int = 10, n_genes: int = 80, seed: int = 0
) -> RegulatedCells:
    """Each regulator has targets at random, a third of them repressed; its own mRNA is not among the genes.

    Network and cells follow from different seeds, so that there can be several samples of cells of one network.
    """
    network = random_edges(n_regulators, n_targets, n_genes)
    genes = [f"TARGET{gene:03}" for gene in range(n_genes)]
    rng = np.random.default_rng(seed)
    activity_NR = rng.normal(size=(n_cells, n_regulators))
    weight_RG = np.zeros((n_regulators, n_genes))
    rows, columns = (_numbers(network.edges[end]) for end in ("regulator", "target"))
    weight_RG[rows, columns] = network.edges["sign"] * network.edges["confidence"]
    counts_NG = rng.poisson(5.0 * np.exp(0.6 * activity_NR @ weight_RG)).astype(np.float32)
    counts_NG = np.minimum(counts_NG, 200.0)
    library_size_N = np.full(n_cells, 1e4, dtype=np.float32)
    cells = CellArrays(counts_NG, library_size_N, np.arange(n_cells, dtype=np.int64) % 3)
    return RegulatedCells(cells, genes, network, activity_NR)


def random_edges(n_regulators: int, n_targets: int, n_genes: int) -> Network:
    """Targets at random, sorted by regulator and target."""
    rng = np.random.default_rng(99)
    rows = [
        (f"REGULATOR{regulator:03}", f"TARGET{target:03}")
        for regulator in range(n_regulators)
        for target in sorted(rng.choice(n_genes, n_targets, replace=False))
    ]
    edges = pd.DataFrame(rows, columns=["regulator", "target"])
    edges["sign"] = np.where(rng.random(len(edges)) < 1 / 3, -1, 1).astype("int8")
    edges["confidence"] = rng.choice([1.0, 0.7], len(edges))
    return Network(edges.assign(sources="test"))


def _numbers(names: Sequence[str]) -> list[int]:
    return [int(name[-3:]) for name in names]


def activity_contents(model: ActivityTransformer, parent: Path) -> BundleContents:
    """The contents of a bundle of a model of activities over GENES."""
    training, exported = arrays(simulated_cells()), OnnxExport(ScoringGraph(model, temperature=1.0), opset=23)
    return replace(
        bundle_contents(model, parent),
        prior=SIGNED_EDGES,
        reference={"cells": len(training), "profile": profile_of(training)},
        regulators=regulator_table(model, training).join(type_statistics(model, training, LABELS)),
        write_graph=exported.write,
        write_edges_graph=partial(exported.write, along_edges=True),
    )


def profile_of(training: CellArrays) -> dict[str, Any]:
    """The profile of training cells with LABELS, of equal confidence and embedding."""
    n_cells = len(training)
    return reference_profile(training, np.zeros((n_cells, 8)), LABELS, np.full(n_cells, 0.9), 0.3)


def write_activity_bundle(parent: Path) -> None:
    """Train a small model of activities and write `bundle` and, in the same folder, the files it was made from."""
    training, model = arrays(simulated_cells()), small_activity_model()
    config = TrainConfig(pretrain_epochs=1, pretrain_lr=1e-2)
    train_whole(model, TrainingCells(training, training), LABELS, config, LabelSettings(components=(6,), folds=2))
    write_bundle(parent / "bundle", activity_contents(model, parent))
