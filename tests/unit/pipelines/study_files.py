"""A small study on simulated cells, for the tests of pipelines.study."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.conftest import EDGES, simulated_cells

SMALL = {
    "model.width": 8, "model.heads": 2, "model.feedforward": 8, "model.readout_heads": 2, "model.embedding": 8,
    "train.epochs": 2, "train.batch_size": 16, "train.lr": 0.01,
}  # fmt: skip
SYMBOLS = [
    "SPI1",
    "CEBPB",
    "STAT1",
    "IRF7",
    "CD3D",
    "CD3E",
    "IL7R",
    "LTB",
    "CD79A",
    "MS4A1",
    "CD79B",
    "CD74",
    "LYZ",
    "S100A8",
    "S100A9",
    "FCN1",
    "NKG7",
    "GNLY",
    "PRF1",
    "GZMB",
    "ISG15",
    "IFI6",
    "MX1",
    "IFIT1",
]
"""Human gene symbols, since cells and network go through the same identification as a user's files."""


def study_content(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write cells, splits and network into a folder, and return the content of the study's YAML file."""
    cells = simulated_cells(120)
    cells.var_names = SYMBOLS
    cells.obs["donor"] = [f"donor{index // 3 % 4}" for index in range(cells.n_obs)]
    cells.write_h5ad(folder / "cells.h5ad")
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    table = pd.DataFrame({"test": (cells.obs["donor"] == "donor3").to_numpy()}, index=cells.obs_names)
    rng = np.random.default_rng(0)
    for percent, cells_a_type in ((10, 3), (50, 12)):
        for seed in range(2):
            chosen = np.zeros(cells.n_obs, dtype=bool)
            for name in sorted(set(labels)):
                members = np.flatnonzero((labels == name) & ~table["test"].to_numpy())
                chosen[rng.permutation(members)[:cells_a_type]] = True
            table[f"labelled_{percent}_s{seed}"] = chosen
    table.to_parquet(folder / "splits.parquet")
    symbol_of = {f"GENE{index}": symbol for index, symbol in enumerate(SYMBOLS)}
    edges = pd.DataFrame(
        [(symbol_of[one], symbol_of[other], 1, 1.0) for one, other in EDGES],
        columns=["regulator", "target", "sign", "confidence"],
    )
    edges.to_csv(folder / "network.tsv", sep="\t", index=False)
    content = {
        "name": "small",
        "dataset": {
            "cells": str(folder / "cells.h5ad"),
            "split_table": str(folder / "splits.parquet"),
            "donor_column": "donor",
        },
        "network": {"files": {"own": {"file": str(folder / "network.tsv")}}},
        "gene_budget": 24,
        "percents": [10, 50],
        "seeds": [0, 1],
        "shared": SMALL,
        "arms": {"mask": {}, "dense": {"model.mode": "dense"}},
        "baselines": ["logistic_regression"],
    }
    return content | changes


def write_study(folder: Path, **changes: Any) -> Path:
    """Write the YAML file of a study and its data files."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(study_content(folder, **changes), sort_keys=False))
    return path
