"""dvc.yaml names files that exist, and every stage depends on the code that computes its outputs."""

from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[3]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
COMPUTING = ("data", "prior", "model", "training", "evaluation", "export")
"""Packages whose code decides what a stage writes; the others read parameters, track and report."""
EXEMPT = (
    "data.arrays",
    "data.cells",
    "data.catalogue",
    "data.count_search",
    "data.h5ad_writer",
    "data.prepared",
    "evaluation.plots",
)
"""Modules that only read and write cells, or plot: a change there does not retrain the model."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("sctransformer")


def code_of(stage: str) -> set[Path]:
    return {ROOT / name for name in STAGES[stage]["deps"] if name.startswith(("src/", "registry/"))}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_of_a_stage_exists(stage: str) -> None:
    assert {path for path in code_of(stage) if not path.exists()} == set()
    script = Path(*STAGES[stage]["cmd"].split("python -m ")[1].split(".")).with_suffix(".py")
    assert ROOT / "src" / script in code_of(stage)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "control"])
def test_a_stage_depends_on_the_code_that_computes_its_outputs(stage: str, graph: grimp.ImportGraph) -> None:
    """Of the modules that its script imports; `control` runs again whenever the weights change."""
    missing = []
    for module in graph.find_modules_directly_imported_by(STAGES[stage]["cmd"].split("python -m ")[1]):
        parts = module.split(".")
        if len(parts) < 3 or parts[1] not in COMPUTING or ".".join(parts[1:]) in EXEMPT:
            continue
        path = ROOT / "src" / Path(*parts)
        candidates = {path.with_suffix(".py"), *path.parents}
        if not candidates & code_of(stage):
            missing.append(module)
    assert missing == []
