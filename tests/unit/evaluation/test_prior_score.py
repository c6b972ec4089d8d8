"""The scorecard of a network: cells that follow it, cells that do not, and what each value rests on."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer.data.expression import CountedCells
from sctransformer.errors import UserError
from sctransformer.evaluation.prior_score import (
    ExpressedGenes,
    Measurement,
    Populations,
    Stimulation,
    confirmed_edges,
    expressed_genes,
    hidden_genes,
    score_network,
    signed_means,
)
from sctransformer.prior.controls import shuffled
from sctransformer.prior.network import Network
from tests.regulated_cells import RegulatedCells, regulated_cells

HALF_N = np.arange(200) % 2 == 0


@pytest.fixture(scope="module")
def regulated() -> RegulatedCells:
    return regulated_cells()


def counted(cells: RegulatedCells) -> CountedCells:
    obs = pd.DataFrame(index=[f"cell{index}" for index in range(len(cells.cells))])
    return CountedCells(sparse.csr_matrix(cells.cells.counts_NG), cells.cells.library_size_N, cells.genes, obs)


@pytest.fixture(scope="module")
def expression(regulated: RegulatedCells) -> ExpressedGenes:
    return expressed_genes(counted(regulated), regulated.network, 5)[0]


def test_cells_that_follow_the_network_pass_and_its_shuffles_do_not(
    regulated: RegulatedCells, expression: ExpressedGenes
) -> None:
    (own,), evidence = score_network(regulated.network, expression, shuffles=20)
    assert own.name == "hidden genes"
    assert own.passed
    assert own.percentile == 100
    assert own.network > 0.1
    wrong = shuffled(regulated.network, None, 99)
    assert np.mean(list(evidence.values())) > 0.9
    (control,), evidence = score_network(wrong, expression, shuffles=20)
    assert np.mean(list(evidence.values())) < 0.8
    assert not control.passed
    assert control.network < own.network


@given(st.integers(0, 79))
@settings(max_examples=20, deadline=None)
def test_an_activity_does_not_see_the_gene_that_it_predicts(gene: int) -> None:
    """Where all other genes are at their mean, the activities of its regulators explain nothing of a gene."""
    cells = regulated_cells()
    expression = expressed_genes(counted(cells), cells.network, 5)[0]
    alone_NG = np.where(np.arange(80) == gene, expression.z_NG, 0.0).astype(np.float32)
    alone = expression._replace(z_NG=alone_NG)
    assert hidden_genes(*signed_means(cells.network, alone), alone, HALF_N).mean == pytest.approx(0.0, abs=1e-6)


def test_stimulated_cells_and_populations_are_recovered(regulated: RegulatedCells, expression: ExpressedGenes) -> None:
    high_N = regulated.activity_NR[:, 2] > 0
    found = score_network(
        regulated.network,
        expression,
        stimulation=Stimulation(high_N, ["REGULATOR002", "UNKNOWN"]),
        populations=Populations(
            np.where(high_N, "high", "low").tolist(), {"high": ["REGULATOR002"], "no cells": ["A"]}
        ),
        shuffles=10,
    )
    by_name = {one.name: one for one in found.measurements}
    assert list(by_name) == ["hidden genes", "stimulation", "lineage regulators"]
    assert by_name["stimulation"].more == {"REGULATOR002": by_name["stimulation"].network}
    assert by_name["stimulation"].network > 0.8
    assert by_name["stimulation"].without_network == 0.5  # its own mRNA is not measured
    assert by_name["lineage regulators"].network == 1.0


def test_knock_outs_confirm_edges_whose_ends_were_measured() -> None:
    edges = pd.DataFrame({"regulator": ["A", "A", "B", "C"], "target": ["x", "y", "x", "x"]})
    network = Network(edges.assign(sign=1, confidence=1.0, sources="test"))
    effects = pd.DataFrame({"regulator": ["A", "B"], "target": ["x", "y"]})
    found = confirmed_edges(network, effects)
    assert found is not None
    assert found.mean == pytest.approx(1 / 3)
    assert found.detail == "1 of 3 edges"
    assert confirmed_edges(network, pd.DataFrame({"regulator": ["D"], "target": ["x"]})) is None


def test_the_interval_is_that_of_the_controls() -> None:
    one = Measurement("m", 0.5, [0.1, 0.2, 0.3, 0.4], None, "")
    mean, low, high = one.difference
    assert (mean, one.percentile, one.passed) == (pytest.approx(0.25), 100.0, True)
    assert 0.1 <= low < mean < high <= 0.4
    same = Measurement("m", 0.2, [0.2, 0.2], None, "")
    assert (same.difference, same.percentile, same.z, same.passed) == ((0.0, 0.0, 0.0), 0.0, 0.0, False)
    assert same.to_json()["z"] == 0.0


def test_a_network_without_targets_in_the_cells_is_refused(regulated: RegulatedCells) -> None:
    with pytest.raises(UserError, match="no regulator of the network has 11 targets among the 80 genes"):
        expressed_genes(counted(regulated), regulated.network, 11)
