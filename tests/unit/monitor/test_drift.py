"""Drift: what is like the training cells stays quiet, what is not is named, and the rule raises the alarm."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctransformer.data.arrays import CellArrays
from sctransformer.evaluation.profile import Profile, confidence_bins, library_size_bins
from sctransformer.evaluation.reference import reference_profile
from sctransformer.jobs.runner import raised
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import alarm, judge, stability_index
from sctransformer.monitor.settings import AlarmRule, Limits
from tests.conftest import LABELS, arrays, simulated_cells

counts = st.lists(st.integers(0, 500), min_size=12, max_size=12).filter(any).map(np.array)


def embedded(cells: CellArrays) -> np.ndarray:
    return np.log1p(cells.counts_NG)[:, :6]


def reference() -> dict[str, Any]:
    training = arrays(simulated_cells(600))
    confidence_N = np.random.default_rng(0).beta(9, 1, 300)
    return {"profile": reference_profile(training, embedded(training), LABELS, confidence_N, 0.6)}


def batch(cells: CellArrays, confidence_N: np.ndarray | None = None) -> dict[str, Any]:
    if confidence_N is None:
        confidence_N = np.random.default_rng(1).beta(9, 1, len(cells))
    labels_C = np.bincount(cells.labels_N[confidence_N >= 0.6], minlength=3)
    return Profile(
        cells=len(cells),
        detection_G=(cells.counts_NG > 0).mean(axis=0),
        expression_G=np.zeros(24),
        library_size_B=library_size_bins(cells.library_size_N),
        confidence_B=confidence_bins(confidence_N),
        labels=dict(zip(LABELS, labels_C.tolist(), strict=True)),
        rejected=int((confidence_N < 0.6).sum()),
        embedding_mean_E=embedded(cells).mean(axis=0),
        embedding_std_E=embedded(cells).std(axis=0),
    ).to_json()


@pytest.mark.parametrize("n_cells", [50, 100, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_other_cells_of_the_same_kind_are_no_drift(n_cells: int, seed: int) -> None:
    verdict = judge(reference(), batch(arrays(simulated_cells(n_cells, seed=10 + seed))), Limits())
    assert verdict.judged
    assert not verdict.drifted, verdict.sentence()
    assert verdict.sentence() == "like the training cells"


def test_each_kind_of_shift_is_named() -> None:
    cells = arrays(simulated_cells(300, seed=2))
    shallow = CellArrays(np.floor(cells.counts_NG / 4), cells.library_size_N / 4, cells.labels_N)
    assert {"psi_library_size", "detection"} <= set(judge(reference(), batch(shallow), Limits()).exceeded)
    one_type = cells.labels_N == 0
    alone = CellArrays(cells.counts_NG[one_type], cells.library_size_N[one_type], cells.labels_N[one_type])
    assert {"psi_labels", "embedding"} <= set(judge(reference(), batch(alone), Limits()).exceeded)
    unsure = judge(reference(), batch(cells, np.random.default_rng(0).uniform(0.3, 0.8, 300)), Limits())
    assert {"psi_confidence", "rejected"} <= set(unsure.exceeded)
    assert unsure.sentence().startswith("drifted: ")
    none_labelled = judge(reference(), batch(cells, np.full(300, 0.1)), Limits())
    assert "rejected" in none_labelled.exceeded
    assert "psi_labels" not in none_labelled.values


def test_what_cannot_be_judged_says_why() -> None:
    assert "too few" in judge(reference(), batch(arrays(simulated_cells(20))), Limits()).sentence()
    old = judge({"cells": 90}, batch(arrays(simulated_cells(90))), Limits())
    assert (old.judged, old.drifted) == (False, False)
    assert "export it again" in old.sentence()


def test_genes_that_were_not_measured_do_not_count() -> None:
    profile = Profile.from_json(batch(arrays(simulated_cells(300, seed=2))))
    part = Profile(**{**vars(profile), "detection_G": np.where(np.arange(24) < 12, 0.0, profile.detection_G)})
    measured = Profile(**{**vars(profile), "detection_G": np.where(np.arange(24) < 12, np.nan, profile.detection_G)})
    assert judge(reference(), part.to_json(), Limits()).drifted
    assert not judge(reference(), measured.to_json(), Limits()).drifted
    assert np.isnan(Profile.from_json(measured.to_json()).detection_G[:12]).all()


@given(counts, counts)
def test_the_stability_index_is_a_distance_of_shares(expected_B: np.ndarray, found_B: np.ndarray) -> None:
    for ordered in (True, False):
        index, noise = stability_index(expected_B, found_B, ordered)
        assert index >= 0
        assert noise >= 0
        assert stability_index(expected_B, expected_B, ordered)[0] == 0
    assert stability_index(found_B, expected_B, False)[0] == pytest.approx(
        stability_index(expected_B, found_B, False)[0]
    )


def test_a_known_stability_index() -> None:
    many = 10**6  # so that smoothing does not show
    index, _ = stability_index(np.array([50, 50]) * many, np.array([80, 20]) * many, ordered=False)
    assert index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), rel=1e-4)


@pytest.mark.parametrize(
    ("drifted", "raised"),
    [
        ([], False),
        ([1], False),
        ([1, 1], True),
        ([1, 0, 0, 0, 1], True),
        ([1, 0, 0, 0, 0, 1], False),
        ([1, 1, 1, 0], False),
        ([0, 1, 0, 1, 1], True),
    ],
)
def test_two_of_the_last_five_and_the_last_one(drifted: list[int], raised: bool) -> None:
    assert alarm([bool(one) for one in drifted], AlarmRule(window=5, raised_by=2)) is raised


@pytest.mark.parametrize(
    ("batches", "raised_now"),
    [
        ("a1 a1", True),
        ("a1 b1", False),
        ("a1 b0 a1", True),
        ("a1 b1 a0", False),
        ("a1 b1 b-", False),
        ("a1 a1 b-", True),
    ],
)
def test_batches_of_another_model_version_do_not_count(batches: str, raised_now: bool) -> None:
    job = Job(name="nightly", model="a", input="new", output=Path("annotated"))
    told = [
        {"model_identity": model, "judged": drifted != "-", "drifted": drifted == "1"}
        for model, drifted in batches.split()
    ]
    assert raised(job, told) is raised_now
