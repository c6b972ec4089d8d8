"""Annotation on a Ray cluster, with real workers."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer.annotation import shards
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from tests.conftest import simulated_cells


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_and_the_same_refusals(activity_bundle: Path, tmp_path: Path) -> None:
    from sctransformer.annotation.cluster import ClusterScorer
    from sctransformer.training.ray_connection import connection

    bundle, settings = read_bundle(activity_bundle), AnnotationSettings(threads=1, regulators="all")
    simulated_cells(3 * shards.SHARD_CELLS // 2).write_h5ad(tmp_path / "cells.h5ad")
    alone = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "alone", settings)
    spoiled = simulated_cells(200)
    spoiled.X = spoiled.X.copy()
    spoiled.X.data[-1] = np.nan
    spoiled.write_h5ad(tmp_path / "spoiled.h5ad")
    scorer, done = ClusterScorer(bundle, settings.scoring, workers=2), []
    with connection():
        together = annotate_file(
            Model(bundle, "m", "1"),
            tmp_path / "cells.h5ad",
            tmp_path / "together",
            settings,
            on_progress=lambda cells, total: done.append(cells),
            scorer=scorer,
        )
        with pytest.raises(UserError, match="expected raw counts"):
            annotate_file(Model(bundle, "m", "1"), tmp_path / "spoiled.h5ad", tmp_path / "out", settings, scorer=scorer)
    assert together.output.read_bytes() == alone.output.read_bytes()
    assert (done[0], done[-1]) == (0, 6144)
    assert "sessions on Ray" in together.provider
    assert not list((tmp_path / "out").rglob("*.h5ad"))
