"""Duration of each step of validation on random counts: `python -m pipelines.speed.validation --cells 200000`."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.statistics import count_statistics
from sctransformer.data.validation.limits import TrainingLimits
from sctransformer.data.validation.tables import training_tables
from sctransformer.data.validation.validate import run_suites

CHUNK = 4096
LABELS = 12
DONORS = 8


def random_chunks(cells: int, genes: int, density: float, seed: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Chunks of counts from 1 to 20 at random positions, generated one at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, cells, CHUNK):
        counts = sparse.random(min(CHUNK, cells - start), genes, density, "csr", np.float32, rng)
        counts.data = np.ceil(counts.data * 20)
        yield start, counts


def main(cells: int, genes: int, density: float, failing: bool) -> None:
    """Print the seconds of generating counts, statistics, tables, and suites with Data Docs."""
    names = [f"GENE{index}" for index in range(genes - 1)] + ["MT-ND1"]
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    for _ in random_chunks(cells, genes, density, seed=0):
        pass
    seconds["counts"] = time.perf_counter() - started
    started = time.perf_counter()
    statistics = count_statistics(random_chunks(cells, genes, density, seed=0), names)
    seconds["statistics"] = time.perf_counter() - started - seconds["counts"]
    obs = pd.DataFrame(
        {
            OBS.library_size: statistics.counts_N - (1.0 if failing else 0.0),
            OBS.cell_type: pd.Categorical([f"type{index % LABELS}" for index in range(cells)]),
            OBS.ontology_term: pd.Categorical(["none" if failing else "CL:0000236"] * cells),
            OBS.donor: pd.Categorical([f"donor{index // LABELS % DONORS}" for index in range(cells)]),
        },
        index=[f"cell{index}" for index in range(cells)],
    )
    started = time.perf_counter()
    tables = training_tables(obs, pd.Index(names), statistics)
    seconds["tables"] = time.perf_counter() - started
    started = time.perf_counter()
    import great_expectations  # noqa: F401

    seconds["import of great_expectations"] = time.perf_counter() - started
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = run_suites(tables, TrainingLimits().model_dump(), Path(folder) / "docs")
    seconds["suites and Data Docs"] = time.perf_counter() - started
    for failure in report.failures:
        print(failure.sentence("random counts")[:200])
    rounded = {step: round(value, 2) for step, value in seconds.items()}
    print(json.dumps({"cells": cells, "genes": genes, "density": density, "seconds": rounded}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--density", type=float, default=0.08)
    parser.add_argument("--failing", action="store_true", help="every cell breaks two expectations")
    main(**vars(parser.parse_args()))
