"""Fixtures shared by all tests: simulated cells of three types, and a small bundle of a model trained on them."""

import gc
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.export.bundle import BundleContents, label_table, write_bundle
from sctransformer.export.graph import ScoringGraph, export_onnx
from sctransformer.export.parity import measure_parity
from sctransformer.files import sha256_file, sha256_json
from sctransformer.model import Model, ModelConfig, PriorBiasedTransformer
from sctransformer.prior.bias import allowed_pairs, mask_bias
from sctransformer.training.config import TrainConfig
from sctransformer.training.trainer import Trainer
from tests.shared import shared_folder

Module = TypeVar("Module", bound=torch.nn.Module)

torch.set_num_threads(1)  # small models are fastest on one thread, and tests run in parallel

GENES = [f"GENE{index}" for index in range(24)]
LABELS = ["alpha", "beta", "gamma"]
EDGES = [(f"GENE{regulator}", f"GENE{target}") for regulator in range(4) for target in range(4 + regulator, 24, 4)]


def pytest_configure() -> None:
    """Handle SIGINT here and in child processes, because a shell that runs tests in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "integration/test_pipeline.py",
    "integration/test_team_stack.py",
    "integration/test_registry_decisions.py",
    "integration/test_ray_training.py",
    "integration/test_own_data.py",
    "integration/test_study.py",
    "integration/test_ray_cluster.py",
    "integration/test_machines.py",
    "unit/training/test_trainer.py",
    "integration/test_read_only.py",
    "integration/test_search.py",
)
"""Files whose tests take minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long files first, then others with slow tests, so that the parallel processes end at about the same time."""
    folder = Path(__file__).parent
    rank = {folder / name: number for number, name in enumerate(LONGEST)}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (rank.get(item.path, len(rank)), item.path not in slow))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files of slow tests that are left out anyway: Ray and other libraries take seconds."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return True if "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of garbage collection, which would walk through it again and again."""
    gc.collect()
    gc.freeze()


def reference_folder() -> Path:
    """Folder of public cells, networks and splits; skips the calling test if it is not set."""
    named = os.environ.get("SCTRANSFORMER_REFERENCE_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("no public data: SCTRANSFORMER_REFERENCE_DATA is not set to a folder")
    return Path(named)


def simulated_cells(n_cells: int = 90, seed: int = 0) -> AnnData:
    """Cells of three types with eight marker genes each: counts (CSR), library sizes, labels."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(n_cells) % len(LABELS)
    rate_NG = np.full((n_cells, len(GENES)), 0.5)
    for label in range(len(LABELS)):
        rate_NG[labels_N == label, label * 8 : (label + 1) * 8] = 6.0
    counts_NG = rng.poisson(rate_NG).astype(np.float32)
    obs = pd.DataFrame(
        {
            OBS.library_size: counts_NG.sum(axis=1).astype(np.float64) + 100.0,
            OBS.cell_type: pd.Categorical([LABELS[label] for label in labels_N], categories=LABELS),
        },
        index=[f"cell{index}" for index in range(n_cells)],
    )
    return AnnData(sparse.csr_matrix(counts_NG), obs=obs, var=pd.DataFrame(index=GENES))


def labelled_test_cells() -> AnnData:
    """Test cells of the bundle below."""
    return simulated_cells(60, seed=5)


def arrays(cells: AnnData) -> CellArrays:
    """All cells in the form used for training."""
    return CellArrays(
        counts_NG=cells.X.toarray(),
        library_size_N=cells.obs[OBS.library_size].to_numpy(dtype=np.float32),
        labels_N=cells.obs[OBS.cell_type].cat.codes.to_numpy(dtype=np.int64),
    )


def expression(cells: CellArrays) -> NDArray[np.float32]:
    """log1p of counts per 10,000, cells x genes."""
    return np.log1p(cells.counts_NG / cells.library_size_N[:, None] * 1e4)


def small_model(seed: int = 0, depth: int = 2) -> PriorBiasedTransformer:
    """An untrained model over GENES with four regulators; expression is standardised with the simulated cells."""
    torch.manual_seed(seed)
    config = ModelConfig(
        n_genes=24,
        n_regulators=4,
        n_classes=3,
        width=8,
        depth=depth,
        heads=2,
        feedforward=8,
        readout_heads=2,
        embedding=8,
    )
    model = PriorBiasedTransformer(config, torch.from_numpy(mask_bias(allowed_pairs(EDGES, GENES, 4))))
    expression_NG = expression(arrays(simulated_cells()))
    model.set_expression_statistics(expression_NG.mean(axis=0), expression_NG.std(axis=0))
    return model


def opened(model: Module, seed: int = 0) -> Module:
    """Set parameters that are initialised to zero to random values, so that no branch is inactive and hides a leak."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Set torch to one thread again: numba, which scanpy imports, sets the threads of the whole process."""
    torch.set_num_threads(1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def cells() -> AnnData:
    """90 simulated cells of three types."""
    return simulated_cells()


@pytest.fixture(scope="session")
def activity_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model of activities trained on simulated cells. Do not change it: make a copy."""
    from tests.regulated_cells import write_activity_bundle

    return shared_folder(tmp_path_factory, "activities", write_activity_bundle) / "bundle"


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model trained on simulated cells, which it labels well. Do not change it: make a copy."""
    return shared_folder(tmp_path_factory, "bundle", write_trained_bundle) / "bundle"


def write_trained_bundle(parent: Path) -> None:
    """Train a small model and write `bundle` and, in the same folder, the files it was made from."""
    training, model = arrays(simulated_cells()), small_model()
    Trainer(model, TrainingCells(training, training), TrainConfig(epochs=8, batch_size=32, lr=1e-2)).fit()
    write_bundle(parent / "bundle", bundle_contents(model, parent))


def bundle_contents(model: Model, parent: Path) -> BundleContents:
    """The contents of a bundle of a model over GENES, trained on the simulated cells; writes files it is made from."""
    training = arrays(simulated_cells())
    expression_NG = expression(training)
    graph = ScoringGraph(model, temperature=1.0)
    regulators, targets = zip(*EDGES, strict=True)
    lock = parent / "dvc.lock"
    lock.write_text("schema: '2.0'\nstages: {}\n")
    return BundleContents(
        config=model.config.to_dict(),
        vocabulary=pd.DataFrame(
            {
                "gene": GENES,
                "is_regulator": [index < 4 for index in range(24)],
                "criterion": ["regulator"] * 4 + ["target"] * 20,
                "mean": expression_NG.mean(axis=0),
                "std": expression_NG.std(axis=0),
            }
        ),
        prior=pd.DataFrame({"regulator": regulators, "target": targets, "sign": 1, "confidence": 1.0}),
        labels=label_table(LABELS, {"alpha": "CL:0000236"}),
        calibration={"temperature": 1.0, "rejection_threshold": 0.3, "rejection_error": 0.05},
        reference={"cells": len(training)},
        metrics={
            "test": {
                "macro_f1": 0.9,
                "accuracy": 0.92,
                "cells": 60,
                "calibration_error": 0.04,
                "per_class": {name: {"precision": 0.9, "recall": 0.9, "f1": 0.9, "cells": 20} for name in LABELS},
            },
            "baseline": {"macro_f1": 0.88, "accuracy": 0.9},
            "versus_baseline": {"difference": 0.02, "low": -0.01, "high": 0.05, "drawn_again": "cells"},
            "control": {
                "kind": "shuffled",
                "macro_f1": 0.87,
                "difference": 0.03,
                "evidence": [{"name": "hidden genes", "difference": 0.02, "low": 0.01, "high": 0.03}],
            },
            "test_cells_sha256": sha256_json([list(pair) for pair in labelled_test_cells().obs[OBS.cell_type].items()]),
            "coverage": {"genes_with_regulator_share": 0.8, "edges_kept": len(EDGES)},
        },
        lineage={
            "git": {"commit": "0" * 40, "dirty": False},
            "dvc_lock_sha256": sha256_file(lock),
            "data_sha256": "2" * 64,
            "prior_sha256": "3" * 64,
            "params": {"seed": 0},
            "packages": {"torch": "2.0"},
            "validation_success": True,
            "run_id": None,
            "who": "Ada <ada@example.org>",
            "when": "2026-01-01T00:00:00+00:00",
        },
        card="# Model card\n",
        page="<h1>Model card</h1>\n",
        dvc_lock=lock,
        write_weights=lambda path: save_file(model.state_dict(), path),
        write_graph=lambda path: export_onnx(graph, path, opset=23),
        measure_parity=lambda path: {
            **measure_parity(graph, path, training, 1e-5),
            "speed": {"cells_per_second": 5000.0},
        },
    )
