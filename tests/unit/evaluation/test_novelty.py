"""The novelty score: what it finds, what fixes its weights, scales and thresholds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays
from sctransformer.errors import UserError
from sctransformer.evaluation.novelty import (
    CANDIDATES,
    DEFAULT_WEIGHTS,
    MEASURED,
    Novelty,
    Probabilities,
    auroc,
    choose_weights,
    fit_novelty,
    load_novelty,
    novelty_of,
    novelty_statistics,
    parts_of,
    save_novelty,
    stand_in,
    without_genes,
)

GENES, MARKERS = 120, 20
WITHHELD = 0.01


def cells_of(types: list[int], n_cells: int, seed: int) -> CellArrays:
    """Cells of types with 20 marker genes each, which cells of other types hardly express."""
    rng = np.random.default_rng(seed)
    labels_N = np.resize(np.arange(len(types)), n_cells)
    rate_NG = np.full((n_cells, GENES), 0.005)
    rate_NG[:, 100:] = 1.0  # all cells express the last genes
    for cell, label in enumerate(labels_N):
        start = types[label] * MARKERS
        rate_NG[cell, start : start + MARKERS] = 2.0
    counts_NG = rng.poisson(rate_NG).astype(np.float32)
    return CellArrays(counts_NG, counts_NG.sum(axis=1) + 200.0, labels_N)


@pytest.fixture(scope="module")
def training() -> CellArrays:
    return cells_of([0, 1, 2], 300, seed=0)


@pytest.fixture(scope="module")
def probabilities(training: CellArrays) -> Probabilities:
    return stand_in(novelty_statistics(training, np.random.default_rng(0)), training)


@pytest.fixture(scope="module")
def novelty(training: CellArrays, probabilities: Probabilities) -> Novelty:
    return fit_novelty(training, cells_of([0, 1, 2], 300, seed=1), probabilities, WITHHELD, seed=0)


def scores(novelty: Novelty, probabilities: Probabilities, cells: CellArrays) -> NDArray[np.float32]:
    return novelty_of(novelty.score, cells, probabilities(cells))


def test_cells_of_a_new_type_are_above_the_threshold_and_known_cells_below(
    novelty: Novelty, probabilities: Probabilities
) -> None:
    known_N = scores(novelty, probabilities, cells_of([0, 1, 2], 600, seed=2))
    new_N = scores(novelty, probabilities, cells_of([3], 100, seed=3))
    assert (known_N > novelty.threshold).mean() < 0.04
    assert (new_N > novelty.threshold).mean() > 0.95


def test_the_threshold_withholds_the_stated_share_of_validation_cells(
    novelty: Novelty, probabilities: Probabilities
) -> None:
    validation_N = scores(novelty, probabilities, cells_of([0, 1, 2], 300, seed=1))
    assert (validation_N > novelty.threshold).mean() <= WITHHELD
    assert abs(float(np.median(validation_N))) < 0.5  # each part has the median 0


def test_the_score_of_a_cell_does_not_depend_on_other_cells(novelty: Novelty, probabilities: Probabilities) -> None:
    new = cells_of([3], 100, seed=3)
    alone = new.take(np.array([7]))
    np.testing.assert_allclose(
        scores(novelty, probabilities, alone), scores(novelty, probabilities, new)[7:8], rtol=1e-4
    )


def test_genes_that_are_not_measured_do_not_matter(novelty: Novelty, probabilities: Probabilities) -> None:
    cells = cells_of([0, 1, 2], 60, seed=4)
    measured_G = np.arange(GENES) % 3 > 0
    other = CellArrays((cells.counts_NG + 5.0 * ~measured_G).astype(np.float32), cells.library_size_N, cells.labels_N)
    given_NC = probabilities(cells)
    one_N, other_N = (novelty_of(novelty.score, some, given_NC, measured_G) for some in (cells, other))
    np.testing.assert_allclose(one_N, other_N, rtol=1e-4, atol=1e-4)


def test_with_fewer_genes_the_fitted_threshold_still_fits_known_cells(
    novelty: Novelty, probabilities: Probabilities
) -> None:
    limit_of = {row["measured"]: row["threshold"] for row in novelty.content["thresholds"]}
    assert list(limit_of) == list(MEASURED)
    cells, measured_G = cells_of([0, 1, 2], 600, seed=5), np.random.default_rng(1).random(GENES) < 0.6
    shown = without_genes(cells, measured_G, novelty.score.mean_G.numpy().astype(np.float64))
    novelty_N = novelty_of(novelty.score, shown, probabilities(shown), measured_G)
    assert (novelty_N > limit_of[0.6]).mean() < 0.08


def test_each_part_sees_what_it_is_for(training: CellArrays, novelty: Novelty) -> None:
    known = cells_of([0], 50, seed=6)
    sure_NC = np.tile(np.array([1.0, 0.0, 0.0], dtype=np.float32), (50, 1))
    surprise_N, distance_N, unsure_N = parts_of(novelty.score, known, sure_NC).T
    as_other_N = parts_of(novelty.score, known, sure_NC[:, ::-1].copy())[:, 0]
    assert as_other_N.min() > surprise_N.max()  # the third type hardly shows the genes of the first
    even_NC = np.full((50, 3), 1 / 3, dtype=np.float32)
    assert parts_of(novelty.score, known, even_NC)[:, 2].min() > unsure_N.max()
    assert parts_of(novelty.score, cells_of([3], 50, seed=7), sure_NC)[:, 1].min() > distance_N.mean()


def test_weights_are_chosen_on_training_cells(training: CellArrays) -> None:
    weights, auroc = choose_weights(training, np.random.default_rng(0))
    assert weights in CANDIDATES
    assert auroc["lowest"] <= auroc["mean"]
    assert auroc["mean"] > 0.95


def test_with_two_types_the_weights_are_the_default_ones() -> None:
    assert choose_weights(cells_of([0, 1], 100, seed=0), np.random.default_rng(0)) == (DEFAULT_WEIGHTS, {})


def test_equal_cells_and_seeds_give_equal_scores(training: CellArrays, probabilities: Probabilities) -> None:
    validation = cells_of([0, 1, 2], 120, seed=1)
    one, other = (fit_novelty(training, validation, probabilities, WITHHELD, seed=0) for _ in range(2))
    assert one.content == other.content
    for name, values in one.score.state_dict().items():
        torch.testing.assert_close(values, other.score.state_dict()[name], rtol=0, atol=0)


def test_a_saved_score_is_read_back(novelty: Novelty, probabilities: Probabilities, tmp_path: Path) -> None:
    save_novelty(novelty.score, tmp_path / "novelty.safetensors")
    cells = cells_of([0, 3], 20, seed=8)
    given_NC = probabilities(cells)
    again = load_novelty(tmp_path / "novelty.safetensors")
    np.testing.assert_array_equal(novelty_of(again, cells, given_NC), novelty_of(novelty.score, cells, given_NC))


def test_a_missing_score_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro evaluate"):
        load_novelty(tmp_path / "novelty.safetensors")


def test_auroc_counts_pairs_and_ties_as_half() -> None:
    assert auroc(np.array([3.0, 1.0]), np.array([0.0, 1.0])) == pytest.approx((2 + 1.5) / 4)
