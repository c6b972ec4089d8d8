"""An annotated file and the outputs of a training, small, for the tests of reports."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sctransformer import layout
from sctransformer._constants import BUNDLE, OBS
from sctransformer.annotation.in_memory import annotate_adata
from sctransformer.annotation.model import Model
from sctransformer.annotation.settings import AnnotationSettings, RegulatorOutput
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.files import sha256_file
from sctransformer.reports.training import in_outputs
from tests.conftest import LABELS, simulated_cells

N_CELLS = 36
"""So few that the map shows principal components."""
EVIDENCE = {"GENE0": 1.0, "GENE1": 0.97, "GENE2": 0.5, "GENE3": 0.2, "OUTSIDE": 0.99}


def bundle_with_evidence(source: Path, target: Path) -> Bundle:
    """A copy of a bundle whose regulators have evidence; GENE2 and GENE3 do not beat rewired networks."""
    shutil.copytree(source, target)
    table = pd.read_parquet(target / BUNDLE.regulators)
    table["evidence"] = table["regulator"].map(EVIDENCE)
    table.to_parquet(target / BUNDLE.regulators, index=False)
    lines = (target / BUNDLE.checksums).read_text().splitlines()
    digest = sha256_file(target / BUNDLE.regulators)
    kept = [f"{digest}  {BUNDLE.regulators}" if line.endswith(f"  {BUNDLE.regulators}") else line for line in lines]
    (target / BUNDLE.checksums).write_text("".join(f"{line}\n" for line in kept))
    return read_bundle(target)


def annotated_cells(bundle: Bundle, regulators: RegulatorOutput = "all") -> AnnData:
    """Annotated cells, with a column of conditions."""
    cells = simulated_cells(N_CELLS, seed=5)
    cells.obs["condition"] = pd.Categorical(np.where(np.arange(N_CELLS) % 2, "control", "stimulated"))
    model = Model(bundle, str(bundle.folder), "unregistered")
    return annotate_adata(cells, model, AnnotationSettings(regulators=regulators))


def write_outputs(folder: Path, bundle: Path) -> None:
    """The outputs of a training of which this is the bundle."""
    shutil.copytree(bundle, in_outputs(folder, layout.BUNDLE_FOLDER))
    cells = simulated_cells(N_CELLS, seed=5)
    truth = cells.obs[OBS.cell_type].astype(str).tolist()
    predicted = [LABELS[0], *truth[1:-1], LABELS[0]]
    scores = {"precision": 0.9, "recall": 0.8, "recall_ci": [0.7, 0.9], "f1": 0.85, "cells": 12}
    curve = [{"threshold": 0.9, "coverage": 0.5, "risk": 0.01}, {"threshold": 0.2, "coverage": 1.0, "risk": 0.2}]
    written: Mapping[Path, Any] = {
        layout.METRICS: {
            "test": {"macro_f1": 0.75, "accuracy": 0.8, "cells": N_CELLS, "calibration_error": 0.1},
            "baseline": {"macro_f1": 0.7, "accuracy": 0.79, "cells": N_CELLS},
            "versus_baseline": {"difference": 0.05, "low": -0.01, "high": 0.11, "drawn_again": "cells"},
        },
        layout.CLASSES: {part: dict.fromkeys(LABELS, scores) for part in ("test", "baseline")},
        layout.TEST_CELLS: {"macro_f1_ci": {"test": [0.7, 0.8], "baseline": [0.6, 0.78]}},
        layout.CALIBRATION: {"temperature": 1.0, "rejection_threshold": 0.4, "risk_coverage": curve},
        layout.CONTROL: {
            "kind": "shuffled",
            "macro_f1": 0.72,
            "difference": 0.03,
            "difference_ci": [0.01, 0.05],
            "changed_labels_share": 0.06,
            "evidence": [
                {"name": "hidden genes", "detail": "20 genes", "network": 0.2, "shuffled_mean": 0.1, "difference": 0.1}
                | {"low": 0.08, "high": 0.12, "without_network": 0.05}
            ],
        },
    }
    for path, content in written.items():
        target = in_outputs(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    table = pd.DataFrame({"cell": cells.obs_names, "cell_type": truth, "predicted": predicted})
    table.to_csv(in_outputs(folder, layout.PREDICTIONS), index=False)
    cells.write_h5ad(in_outputs(folder, layout.TEST_CELLS_FILE))
