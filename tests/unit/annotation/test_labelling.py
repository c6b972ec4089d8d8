"""Labelling in memory: rejection, batches, absent genes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sctransformer.annotation.genes import match_genes
from sctransformer.annotation.labelling import BATCH_CELLS, UNKNOWN, Labeller, reject
from sctransformer.annotation.session import ScoringSession
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import GENES, simulated_cells

ABSENT = (1, 6, 17)


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


def test_cells_under_the_threshold_or_without_counts_are_rejected() -> None:
    best_N, confidence_N = np.array([2, 1, 0, 1], dtype=np.int32), np.array([0.9, 0.4, np.nan, 0.9], dtype=np.float32)
    label_N = reject(best_N, confidence_N, np.array([True, True, True, False]), 0.5)
    assert label_N.tolist() == [2, UNKNOWN, UNKNOWN, UNKNOWN]
    assert label_N.dtype == np.int32


def test_cells_are_labelled_in_batches(bundle: Bundle) -> None:
    cells, session = simulated_cells(2 * BATCH_CELLS + 5), ScoringSession(bundle, threads=1)
    sizes_N = cells.obs["library_size"].to_numpy(dtype=np.float32)
    labeller = Labeller(session, bundle.vocabulary, match_genes(bundle.vocabulary, cells.var_names))
    labels = labeller.label(cells.X, sizes_N)
    assert len(labels) == cells.n_obs
    last = labeller.score(cells.X[-5:].toarray(), sizes_N[-5:])
    np.testing.assert_array_equal(labels.probabilities_NC[-5:], last.probabilities_NC)
    np.testing.assert_array_equal(labels.embedding_NE[-5:], last.embedding_NE)
    none = labeller.label(cells.X[:0], sizes_N[:0])
    assert (none.probabilities_NC.shape, none.embedding_NE.shape) == ((0, 3), (0, 8))
    assert none.label_N(0.5).tolist() == none.confidence_N.tolist() == []


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
