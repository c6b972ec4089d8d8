"""Metrics of a job's run: regulators that shifted are counted and named."""

from dataclasses import replace
from pathlib import Path

import anndata

from sctransformer._constants import UNS
from sctransformer.annotation.files import FileOutcome
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import FileAnnotator
from sctransformer.annotation.sources import LocalSource
from sctransformer.export.bundle import read_bundle
from sctransformer.jobs.checks import hooks_of
from sctransformer.jobs.history import RunRecord
from sctransformer.jobs.mlflow_run import metrics_of, shifted_regulators
from sctransformer.jobs.spec import Job
from tests.conftest import simulated_cells


def test_shifted_regulators_are_in_the_output_and_in_the_metrics(activity_bundle: Path, tmp_path: Path) -> None:
    simulated_cells(150, seed=8).write_h5ad(tmp_path / "cells.h5ad")
    bundle, job = read_bundle(activity_bundle), Job(name="nightly", model="m", input="x", output=tmp_path / "out")
    assert bundle.regulators is not None
    regulators = bundle.regulators.assign(evidence=1.0)
    shifted = regulators.copy()
    one = shifted["regulator"] == "GENE1"
    shifted.loc[one, "mean:beta"] -= 5 * shifted.loc[one, "std:beta"]
    found = {}
    for name, table in (("like", regulators), ("shifted", shifted)):
        model = Model(replace(bundle, regulators=table), "m", "1")
        annotator = FileAnnotator(model, tmp_path / name, hooks=hooks_of(job, model.bundle))
        source = LocalSource(tmp_path / "cells.h5ad")
        found[name] = FileOutcome(source, annotator(source), None)
    assert shifted_regulators([found["like"]]) == []
    assert shifted_regulators(list(found.values())) == ["GENE1"]
    record = RunRecord("nightly", "now", "m", shifted_regulators=["GENE1"])
    assert metrics_of([found["shifted"]], record)["regulators_shifted"] == 1
    summary = found["shifted"].summary
    assert summary is not None
    written = anndata.read_h5ad(summary.output).uns[UNS.annotation]
    assert written["shifted_regulators"] == "GENE1"
    assert "GENE1 up in beta" in written["drift"]
