"""Majority voting: similar cells are clustered, and each cluster gets its most frequent label."""

from pathlib import Path

import anndata
import numpy as np
import pytest

from sctransformer._constants import OBS
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.voting import GROUPS, MAJORITY, leiden_groups, majority
from sctransformer.export.bundle import read_bundle
from tests.conftest import simulated_cells


def test_a_cluster_gets_its_most_frequent_label() -> None:
    group_N, label_N = np.array([0, 0, 0, 1, 1, 1, 2, 2]), np.array([2, 2, 0, -1, -1, 1, 1, 0])
    assert majority(group_N, label_N, 3).tolist() == [2, 2, 2, -1, -1, -1, 0, 0]


def test_few_cells_are_one_cluster() -> None:
    assert leiden_groups(np.zeros((5, 2), np.float32)).tolist() == [0] * 5


@pytest.mark.slow
def test_voting_adds_two_columns_and_changes_no_other(bundle_folder: Path, tmp_path: Path) -> None:
    simulated_cells(600, seed=3).write_h5ad(tmp_path / "cells.h5ad")
    bundle = read_bundle(bundle_folder)

    def annotated(name: str, voting: bool) -> anndata.AnnData:
        settings = AnnotationSettings(majority_voting=voting, threshold=0.6)
        return anndata.read_h5ad(
            annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / name, settings).output
        )

    plain, voted = annotated("plain", False).obs, annotated("voted", True).obs
    assert voted[plain.columns].equals(plain)
    assert set(voted) - set(plain) == {GROUPS, MAJORITY}
    assert voted.groupby(GROUPS, observed=True)[MAJORITY].nunique().max() == 1
    assert voted[GROUPS].nunique() > 3
    right = voted[MAJORITY].astype(str) == voted[OBS.cell_type].astype(str)
    assert right.mean() >= (plain[OBS.predicted_labels].astype(str) == plain[OBS.cell_type].astype(str)).mean()
    assert annotated("again", True).obs.equals(voted)
