"""The robustness scripts: detection of unknown types, and simulated shifts between technologies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pipelines.robustness import false_alarms, knock_outs, novelty
from pipelines.robustness.shift import ABSENT, SHIFTS, measure
from pipelines.robustness.unknown_class import Scored, detection, leave_out, without
from sctransformer.annotation.genes import fill_absent, match_genes
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.target_response import measured_cells
from sctransformer.data.arrays import CellArrays
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.params import Params
from tests.conftest import EDGES, GENES, arrays, expression, simulated_cells

VOCABULARY = pd.DataFrame({"gene": ["A", "B", "C"], "mean": [1.0, np.log1p(50.0), 0.0]})


def test_an_absent_gene_is_filled_with_the_average_cell() -> None:
    match = match_genes(VOCABULARY, pd.Index(["A", "C"]))
    counts_NG = np.array([[3.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    fill_absent(counts_NG, np.array([1000.0, 0.0]), match, VOCABULARY)
    np.testing.assert_allclose(counts_NG, [[3.0, 5.0, 1.0], [0.0, 0.005, 0.0]], rtol=1e-6)
    before_NG = counts_NG.copy()
    fill_absent(counts_NG, np.array([1000.0, 0.0]), match_genes(VOCABULARY, pd.Index(["C", "B", "A"])), VOCABULARY)
    np.testing.assert_array_equal(counts_NG, before_NG)


def test_detection_from_known_confidences() -> None:
    unknown = Scored(np.array([0.1, 0.2, 0.9]), np.array([0.0, 0.0, 2.0]))
    known = Scored(np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.0, 0.0, 0.0, 0.0]))
    found = detection("x", unknown, known, 0.55, 3.0)
    assert (found.unknown_cells, found.known_cells) == (3, 4)
    assert found.auroc == pytest.approx(8 / 12)
    assert found.rejected_unknown == pytest.approx(2 / 3)
    assert found.rejected_known == pytest.approx(1 / 4)
    assert found.auroc_novelty == pytest.approx(2 / 3)
    assert detection("x", unknown, known, 0.55, 1.0).rejected_unknown == 1.0


def test_labels_are_renumbered_without_the_type_that_is_left_out() -> None:
    cells = CellArrays(np.eye(4, dtype=np.float32), np.ones(4, dtype=np.float32), np.array([0, 1, 2, 1]))
    rest = without(cells, 1)
    assert rest.labels_N.tolist() == [0, 1]
    assert rest.counts_NG.argmax(axis=1).tolist() == [0, 2]


def test_shifted_counts_are_valid() -> None:
    cells = arrays(simulated_cells(200))
    for name, shift in SHIFTS.items():
        counts_NG, size_N = shift(cells.counts_NG, cells.library_size_N, np.random.default_rng(0))
        assert (counts_NG == counts_NG.round()).all(), name
        assert (counts_NG >= 0).all(), name
        assert (size_N >= counts_NG.sum(axis=1) - 1e-3).all() or name.startswith("ambient"), name
    thin_NG, _ = SHIFTS["depth x 0.2"](cells.counts_NG, cells.library_size_N, np.random.default_rng(0))
    assert thin_NG.sum() == pytest.approx(0.2 * cells.counts_NG.sum(), rel=0.05)


def test_every_shift_is_measured(bundle_folder: Path) -> None:
    found = measure(read_bundle(bundle_folder), arrays(simulated_cells(150, seed=1)), seed=0)
    assert len(found) == len(SHIFTS) + 2 * len(ABSENT)
    assert found["unchanged"]["accuracy"] > 0.9
    assert found["50% of genes absent, filled"]["accuracy"] > 0.5


def test_random_halves_of_like_cells_raise_no_alarm(activity_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(activity_bundle)
    assert bundle.regulators is not None
    bundle = replace(bundle, regulators=bundle.regulators.assign(evidence=1.0))
    simulated_cells(400, seed=9).write_h5ad(tmp_path / "cells.h5ad")
    cells = false_alarms.score(bundle, tmp_path / "cells.h5ad")
    found = false_alarms.measure(bundle, cells, np.arange(400), draws=3, seed=0)
    assert found["note"] == ""
    assert found["shifted"] == []
    assert found["own"] == {"regulators": 0.0, "drifted": 0.0, "alarm": 0.0}
    assert found["training"]["regulators"] == 0.0
    summary = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / "out")
    profile = false_alarms.profile(bundle, cells, np.arange(400)).to_json()
    for name, mean_R in summary.profile["activity_by_label"].items():
        np.testing.assert_allclose(profile["activity_by_label"][name], mean_R, atol=1e-4)
    assert {name: profile[name] for name in ("labels", "rejected", "confidence", "library_size")} == {
        name: summary.profile[name] for name in ("labels", "rejected", "confidence", "library_size")
    }


def test_signs_of_knock_outs_are_compared_with_measured_ones(activity_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(activity_bundle)
    simulated_cells(120, seed=9).write_h5ad(tmp_path / "cells.h5ad")
    with open_cells(tmp_path / "cells.h5ad", bundle.vocabulary) as file:
        read = check_cells(file, bundle.vocabulary)
        cells = measured_cells(read, LocalScorer(bundle, Scoring()).labeller(read), 100, 0)
    edges = bundle.prior[bundle.prior["regulator"] == "GENE1"]
    truth = edges.assign(effect_of_regulator=np.where(edges["sign"] < 0, -1, 1))
    found = knock_outs.measure(replace(bundle, prior=bundle.prior.assign(sources="")), cells, truth, rewired=3)
    assert found["edges"] == len(edges[edges["target"] != "GENE1"])
    assert found["network_sign"] == 1.0
    assert 0.0 <= found["rewired_mean"] <= 1.0
    with pytest.raises(UserError, match="no edge of the model's network has a measured effect"):
        knock_outs.measure(bundle, cells, truth.assign(regulator="OTHER"), rewired=2)


def test_cells_of_a_type_that_was_left_out_have_lower_confidence(tmp_path: Path) -> None:
    network = tmp_path / "network.tsv"
    table = pd.DataFrame(EDGES, columns=["regulator", "target"]).assign(sign=1, confidence="high")
    table.to_csv(network, sep="\t", index=False)
    training, validation = arrays(simulated_cells(120)), arrays(simulated_cells(120, seed=1))
    expression_NG = expression(training)
    panel = pd.DataFrame(
        {
            "gene": GENES,
            "is_regulator": [index < 4 for index in range(24)],
            "mean": expression_NG.mean(axis=0),
            "std": expression_NG.std(axis=0),
        }
    )
    params = Params.model_validate(
        {
            "prior": {"network": network},
            "model": {"width": 8, "feedforward": 8, "embedding": 8, "readout_heads": 2},
            "train": {"epochs": 3, "min_steps": 40},
        }
    )
    found = leave_out(1, "beta", training, validation, panel, params)
    assert (found.unknown_cells, found.known_cells) == (40, 80)
    assert found.auroc > 0.8
    assert found.rejected_unknown > found.rejected_known


def public_cells(types: list[str], n_cells: int, seed: int) -> novelty.Public:
    """Cells of types with ten marker genes each, the genes of type t from 10 t on, and ten genes of all types."""
    rng, types_N = np.random.default_rng(seed), np.resize(np.array(types, dtype=object), n_cells)
    rate_NF = np.full((n_cells, 60), 0.02)
    rate_NF[:, 50:] = 2.0
    for cell, name in enumerate(types_N):
        start = 10 * "abcde".index(name)
        rate_NF[cell, start : start + 10] = 3.0
    counts_NF = rng.poisson(rate_NF).astype(np.float32)
    names = pd.Index([f"G{gene:02}" for gene in range(60)])
    return novelty.Public(sparse.csr_matrix(counts_NF), counts_NF.sum(axis=1), names, types_N)


def test_novelty_of_a_type_that_is_left_out() -> None:
    cells = public_cells(list("abcd"), 400, seed=0)
    split_N = np.resize(np.repeat(np.array(["train", "validation", "test"], dtype=object), [8, 4, 4]), 400)
    found = novelty.leave_out(cells, split_N, "d", genes=50, seed=0)
    assert found["cells"] == 100
    assert found["auroc"] > 0.95
    assert found["known_withheld"] < 0.1


def test_genes_that_a_public_file_lacks_are_told_from_genes_with_a_count_of_zero() -> None:
    cells, there_G = public_cells(["a"], 5, seed=0).on(pd.Index(["G01", "other", "G00"]))
    assert there_G.tolist() == [True, False, True]
    assert not cells.counts_NG[:, 1].any()
    assert len(novelty.variable_genes(public_cells(["a", "b"], 50, seed=1), 20)) == 20
