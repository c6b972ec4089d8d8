"""Labelling in memory: rejection, batches, absent genes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sctransformer.annotation.genes import match_genes
from sctransformer.annotation.labelling import UNKNOWN, Labeller, call_cells
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.session import BATCH_CELLS, ScoringSession
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import GENES, simulated_cells

ABSENT = (1, 6, 17)


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


def unjudged(n_cells: int) -> np.ndarray:
    """Novelty of cells of a model without a novelty score."""
    return np.full(n_cells, np.nan, dtype=np.float32)


def test_cells_under_the_threshold_or_without_counts_are_rejected() -> None:
    probabilities_NC = np.array(
        [[0.1, 0.0, 0.9], [0.3, 0.4, 0.3], [np.nan, np.nan, np.nan], [0.1, 0.9, 0.0]], dtype=np.float32
    )
    calls = call_cells(probabilities_NC, np.array([True, True, True, False]), unjudged(4), Limits(0.5))
    assert calls.label_N.tolist() == [2, UNKNOWN, UNKNOWN, UNKNOWN]
    assert calls.label_N.dtype == np.int32
    assert calls.rejected == 3
    assert calls.rejected_by == {"low confidence": 2, "novel": 0, "no counts": 1}


def test_a_cell_above_the_novelty_limit_is_rejected_however_confident() -> None:
    probabilities_NC = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (4, 1))
    probabilities_NC[3] = [0.4, 0.6]
    novelty_N = np.array([0.5, 2.0, 2.0, 2.0], dtype=np.float32)
    calls = call_cells(probabilities_NC, np.array([True, True, False, True]), novelty_N, Limits(0.7, 1.0))
    assert calls.label_N.tolist() == [0, UNKNOWN, UNKNOWN, UNKNOWN]
    assert calls.rejected_by == {"low confidence": 0, "novel": 2, "no counts": 1}
    assert call_cells(probabilities_NC, np.ones(4, dtype=bool), novelty_N, Limits(0.7)).rejected == 1


def test_best_and_second_best_labels_are_known_also_where_a_cell_is_rejected() -> None:
    probabilities_NC = np.array([[0.5, 0.2, 0.3], [0.4, 0.6, 0.0]], dtype=np.float32)
    calls = call_cells(probabilities_NC, np.ones(2, dtype=bool), unjudged(2), Limits(0.6))
    assert calls.label_N.tolist() == [UNKNOWN, 1]
    assert calls.best_N.tolist() == [0, 1]
    assert calls.second_N.tolist() == [2, 0]
    np.testing.assert_allclose(calls.second_confidence_N, [0.3, 0.4])


def test_a_model_of_one_cell_type_has_no_second_label() -> None:
    calls = call_cells(np.ones((2, 1), dtype=np.float32), np.ones(2, dtype=bool), unjudged(2), Limits(0.5))
    assert calls.second_N.tolist() == [UNKNOWN, UNKNOWN]
    assert calls.second_confidence_N.tolist() == [0.0, 0.0]


def test_cells_are_labelled_in_batches(bundle: Bundle) -> None:
    cells, session = simulated_cells(2 * BATCH_CELLS + 5), ScoringSession(bundle, threads=1)
    sizes_N = cells.obs["library_size"].to_numpy(dtype=np.float32)
    labeller = Labeller(session, bundle.vocabulary, match_genes(bundle.vocabulary, cells.var_names))
    labels = labeller.label(cells.X, sizes_N)
    assert len(labels) == cells.n_obs
    last = labeller.score(labeller.match.select(cells.X[-5:]), sizes_N[-5:])
    np.testing.assert_array_equal(labels.probabilities_NC[-5:], last.probabilities_NC)
    np.testing.assert_array_equal(labels.embedding_NE[-5:], last.embedding_NE)
    none = labeller.label(cells.X[:0], sizes_N[:0])
    assert (none.probabilities_NC.shape, none.embedding_NE.shape) == ((0, 3), (0, 8))
    assert none.calls(Limits(0.5)).label_N.tolist() == none.calls(Limits(0.5)).confidence_N.tolist() == []


def test_absent_genes_are_average_or_zero(bundle: Bundle) -> None:
    cells, session = simulated_cells(30), ScoringSession(bundle, threads=1)
    sizes_N = cells.obs["library_size"].to_numpy(dtype=np.float32)
    part = cells[:, [name for index, name in enumerate(GENES) if index not in ABSENT]]
    match = match_genes(bundle.vocabulary, part.var_names)
    zeros = cells.X.toarray()
    zeros[:, ABSENT] = 0
    whole = Labeller(session, bundle.vocabulary, match_genes(bundle.vocabulary, cells.var_names))
    as_zero = Labeller(session, bundle.vocabulary, match, "zero").label(part.X, sizes_N)
    np.testing.assert_array_equal(
        as_zero.probabilities_NC, whole.label(sparse.csr_matrix(zeros), sizes_N).probabilities_NC
    )
    average = Labeller(session, bundle.vocabulary, match).label(part.X, sizes_N)
    assert not np.allclose(average.probabilities_NC, as_zero.probabilities_NC)
