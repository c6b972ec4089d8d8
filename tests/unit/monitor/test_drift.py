"""Drift: what is like the training cells stays quiet, what is not is named, and the rule raises the alarm."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.evaluation.profile import Profile, confidence_bins, library_size_bins
from sctransformer.evaluation.reference import reference_profile
from sctransformer.jobs.runner import raised
from sctransformer.jobs.spec import Job
from sctransformer.monitor.drift import Verdict, alarm, stability_index
from sctransformer.monitor.drift import judge as judge_batch
from sctransformer.monitor.genes import changed_genes
from sctransformer.monitor.settings import AlarmRule, Limits
from tests.conftest import GENES, LABELS, arrays, reference_folder, simulated_cells

counts = st.lists(st.integers(0, 500), min_size=12, max_size=12).filter(any).map(np.array)


def embedded(cells: CellArrays) -> np.ndarray:
    return np.log1p(cells.counts_NG)[:, :6]


def expression(cells: CellArrays) -> np.ndarray:
    return log1p_cp10k(cells.counts_NG, cells.library_size_N)


def vocabulary() -> pd.DataFrame:
    return pd.DataFrame({"gene": GENES, "std": expression(arrays(simulated_cells(600))).std(axis=0)})


def judge(content: dict[str, Any], profile: dict[str, Any], limits: Limits) -> Verdict:
    return judge_batch(content, vocabulary(), profile, limits)


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
        expression_G=expression(cells).mean(axis=0),
        library_size_B=library_size_bins(cells.library_size_N),
        confidence_B=confidence_bins(confidence_N),
        labels=dict(zip(LABELS, labels_C.tolist(), strict=True)),
        rejected=int((confidence_N < 0.6).sum()),
        embedding_mean_E=embedded(cells).mean(axis=0),
        embedding_std_E=embedded(cells).std(axis=0),
        best_labels=dict(zip(LABELS, np.bincount(cells.labels_N, minlength=3).tolist(), strict=True)),
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


def induced(cells: CellArrays, genes: list[int], factor: float) -> CellArrays:
    """The cells with more counts in some genes."""
    counts_NG = cells.counts_NG.copy()
    counts_NG[:, genes] = np.round((counts_NG[:, genes] + 1) * factor)
    return CellArrays(counts_NG, counts_NG.sum(axis=1) + 100, cells.labels_N)


def test_induced_genes_are_named_whatever_the_number_of_cells() -> None:
    for n_cells in (100, 3000):
        cells = arrays(simulated_cells(n_cells, seed=3))
        found = judge(reference(), batch(induced(cells, [0, 5, 10, 15, 20], 4.0)), Limits())
        assert "genes" in found.exceeded
        assert {one.gene for one in found.genes[:5]} == {"GENE0", "GENE5", "GENE10", "GENE15", "GENE20"}
        assert all(one.difference > 0.5 and one.batch > one.training for one in found.genes[:5])
        assert "most changed genes, in standard deviations: GENE" in found.sentence()
        assert judge(reference(), batch(cells), Limits()).genes == []


def test_one_gene_that_changes_is_listed_and_is_no_drift() -> None:
    found = judge(reference(), batch(induced(arrays(simulated_cells(300, seed=3)), [5], 1.5)), Limits())
    assert [one.gene for one in found.genes] == ["GENE5"]
    assert "genes" not in found.exceeded


def test_another_mix_of_cell_types_changes_no_gene() -> None:
    cells = arrays(simulated_cells(900, seed=2))
    one_type = cells.take(np.flatnonzero(cells.labels_N == 0))
    found = judge(reference(), batch(one_type), Limits())
    assert "psi_labels" in found.exceeded
    assert found.genes == []
    content = reference()
    del content["profile"]["expression_by_label"]  # a bundle of an earlier version
    assert judge(content, batch(one_type), Limits()).genes


def test_genes_that_differ_between_donors_may_differ_in_a_batch() -> None:
    training = arrays(simulated_cells(600))
    donor_N = np.array([f"donor{index % 4}" for index in range(600)], dtype=object)
    training.counts_NG[donor_N == "donor1", 5] += 3
    confidence_N = np.random.default_rng(0).beta(9, 1, 300)
    profiles = [
        reference_profile(training, embedded(training), LABELS, confidence_N, 0.6, donor_N=one)
        for one in (None, donor_N)
    ]
    found = Profile.from_json(batch(induced(arrays(simulated_cells(300, seed=3)), [5, 9], 2.0)))
    table = pd.DataFrame({"gene": GENES, "std": expression(training).std(axis=0)})
    without, with_donors = ({one.gene for one in changed_genes(profile, table, found, 0.5)[0]} for profile in profiles)
    assert (without, with_donors) == ({"GENE5", "GENE9"}, {"GENE9"})
    assert "expression_between_donors" not in profiles[0]


def test_cells_stimulated_with_interferon_are_not_like_the_training_cells() -> None:
    """Kang et al. 2018: blood cells with and without IFN-beta."""
    cells = anndata.read_h5ad(reference_folder() / "h5ad" / "harmony_pbmc_ifnb.h5ad")
    counts_NG = np.asarray(cells.X.todense() if hasattr(cells.X, "todense") else cells.X, dtype=np.float32)
    everything = CellArrays(counts_NG, counts_NG.sum(axis=1), np.zeros(len(counts_NG), dtype=np.int64))
    stimulated_N = (cells.obs["condition"] == "stim").to_numpy()
    control = np.random.default_rng(0).permutation(np.flatnonzero(~stimulated_N))
    training, rest, stimulated = (
        everything.take(rows) for rows in (control[:600], control[600:], np.flatnonzero(stimulated_N))
    )
    table = pd.DataFrame({"gene": cells.var_names, "std": expression(training).std(axis=0)})
    confidence_N = np.random.default_rng(0).beta(9, 1, 300)
    content = {"profile": reference_profile(training, embedded(training), ["cell"], confidence_N, 0.6)}

    def compared(part: CellArrays) -> Verdict:
        profile = Profile.from_json(batch(part)).to_json() | {"labels": {"cell": len(part)}, "best_labels": {}}
        return judge_batch(content, table, profile, Limits(psi=9.0, rejected=1.0))

    assert compared(rest).sentence() == "like the training cells"
    verdict = compared(stimulated)
    assert "genes" in verdict.exceeded
    induced_by_interferon = {
        "ISG15",
        "IFI6",
        "IFIT1",
        "IFIT2",
        "IFIT3",
        "MX1",
        "RSAD2",
        "LY6E",
        "CXCL10",
        "OAS1",
        "ISG20",
    }
    assert len(induced_by_interferon & {one.gene for one in verdict.genes[:15]}) >= 9
    assert verdict.sentence().startswith("drifted: ")
    assert "IFIT1 +" in verdict.sentence()


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
