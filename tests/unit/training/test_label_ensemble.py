"""The label ensemble: exact folding, held-out predictions, rare types, order of genes, the same bits again."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, special

from sctransformer.data.arrays import CellArrays, take
from sctransformer.data.backed_cells import SparseCells
from sctransformer.errors import UserError
from sctransformer.training import label_ensemble, label_views
from sctransformer.training.balanced_logistic import balanced_loss
from sctransformer.training.components import principal_components
from sctransformer.training.label_candidates import LabelledCells, candidates_of
from sctransformer.training.label_ensemble import LabelFit, fit_label_map, labelled_rows
from sctransformer.training.label_folds import assign_folds
from sctransformer.training.label_settings import LabelSettings
from tests.conftest import LABELS, arrays, expression, simulated_cells

SETTINGS = LabelSettings(components=(3, 6), penalties=(1e-1, 1e-2, 1e-3), folds=3)


def noisy_cells(n_cells: int = 90, seed: int = 0, noise: float = 0.0) -> CellArrays:
    """Simulated cells, of which a fraction has the label of another type."""
    cells, rng = arrays(simulated_cells(n_cells, seed)), np.random.default_rng(seed)
    wrong_N = rng.random(n_cells) < noise
    cells.labels_N[wrong_N] = rng.integers(3, size=wrong_N.sum())
    return cells


def activities(cells: CellArrays) -> np.ndarray:
    """Five activities, not centred, of different scale, one of which is constant."""
    direction_GR = np.random.default_rng(7).normal(size=(cells.n_genes, 5)) * [1.0, 10.0, 0.1, 0.0, 1.0]
    return (expression(cells) @ direction_GR + 2.0).astype(np.float32)


def fitted(cells: CellArrays, settings: LabelSettings = SETTINGS, **more: object) -> LabelFit:
    """A label map of cells that are all in one part."""
    return fit_label_map([cells], LABELS, principal_components([cells], 6), settings, **more)  # type: ignore[arg-type]


def probabilities(fit: LabelFit, cells: CellArrays, activity_NR: np.ndarray | None = None) -> np.ndarray:
    centred_NG = expression(cells) - fit.label_map.mean_G
    return special.softmax(fit.label_map.logits(centred_NG, activity_NR), axis=1)


def test_types_of_other_cells_are_predicted() -> None:
    other = arrays(simulated_cells(seed=1))
    assert (probabilities(fitted(noisy_cells()), other).argmax(axis=1) == other.labels_N).mean() > 0.9


@pytest.mark.parametrize("rotated_share", [0.0, 1.0])
def test_the_map_is_the_average_of_its_regressions(rotated_share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the view on genes is rotated, and with activities."""
    monkeypatch.setattr(label_views, "ROTATED_SHARE", rotated_share)
    cells = noisy_cells(21, noise=0.2)
    components, activity_NR = principal_components([cells], 6), activities(cells)
    fit = fit_label_map([cells], LABELS, components, SETTINGS, activity_NR=activity_NR)
    views = label_views.label_views([cells], np.arange(21), components, SETTINGS, activity_NR)
    folds = LabelledCells(cells.labels_N, assign_folds(cells.labels_N, SETTINGS.folds, 0))
    found = [one for view in views for one in candidates_of(view, folds, SETTINGS.penalties, lambda: None)]
    average_NC = np.zeros((21, 3))
    maps = [one.refit(folds) for one in found]
    source_of = {"expression": expression(cells) - components.mean_G, "activity": activity_NR}
    report = fit.label_map.report
    for one, source, entry in zip(found, maps, report["candidates"], strict=True):
        assert entry["view"] == one.view.name
        average_NC += entry["weight"] * (source_of[source.source] @ source.weight + source.bias_C)
    np.testing.assert_allclose(
        fit.label_map.logits(expression(cells) - components.mean_G, activity_NR), average_NC, atol=1e-5
    )
    assert sum(entry["weight"] for entry in report["candidates"]) == pytest.approx(1.0)


@pytest.mark.parametrize("rotated_share", [0.0, 1.0])
def test_each_regression_predicts_the_same_on_its_view_and_on_its_source(
    rotated_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_views, "ROTATED_SHARE", rotated_share)
    cells = noisy_cells(21)
    components, activity_NR = principal_components([cells], 6), activities(cells)
    views = label_views.label_views([cells], np.arange(21), components, SETTINGS, activity_NR)
    assert [view.name for view in views] == ["scaled_genes", "genes", "components_3", "components_6", "activities"]
    folds = LabelledCells(cells.labels_N, assign_folds(cells.labels_N, SETTINGS.folds, 0))
    source_of = {"expression": expression(cells) - components.mean_G, "activity": activity_NR}
    for view in views:
        assert (view.x_NV**2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-4)
        candidate = next(candidates_of(view, folds, [1e-2], lambda: None))
        found = view.on_source(candidate.start)
        on_source_NC = source_of[found.source] @ found.weight + found.bias_C
        np.testing.assert_allclose(candidate.start.logits(view.x_NV), on_source_NC, atol=1e-4)


def test_rotating_the_genes_changes_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, only = noisy_cells(21), SETTINGS.replace(components=())
    monkeypatch.setattr(label_views, "ROTATED_SHARE", 1.0)
    rotated_NC = probabilities(fitted(cells, only), cells)
    monkeypatch.setattr(label_views, "ROTATED_SHARE", 0.0)
    np.testing.assert_allclose(probabilities(fitted(cells, only), cells), rotated_NC, atol=0.01)


def test_the_same_arguments_give_the_same_bits() -> None:
    cells = noisy_cells(noise=0.2)
    activity_NR = activities(cells)
    first, second = (fitted(cells, activity_NR=activity_NR, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.label_map.weight_GC, second.label_map.weight_GC)
    np.testing.assert_array_equal(first.label_map.bias_C, second.label_map.bias_C)
    np.testing.assert_array_equal(first.log_probability_NC, second.log_probability_NC)


def test_parts_and_sparse_cells_give_the_same_bits_as_one_array() -> None:
    cells = noisy_cells(noise=0.2)
    stored = SparseCells(sparse.csr_matrix(cells.counts_NG), cells.library_size_N, cells.labels_N)
    components = principal_components([cells], 6)
    expected = fit_label_map([cells], LABELS, components, SETTINGS)
    for parts in ([stored], [stored.chunk(0, 40), cells.chunk(40, 90)]):
        found = fit_label_map(parts, LABELS, components, SETTINGS)
        np.testing.assert_array_equal(found.label_map.weight_GC, expected.label_map.weight_GC)
        np.testing.assert_array_equal(found.log_probability_NC, expected.log_probability_NC)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_the_order_of_genes_has_no_effect(seed: int) -> None:
    cells = noisy_cells(noise=0.2)
    order_G = np.random.default_rng(seed).permutation(cells.n_genes)
    moved = CellArrays(np.ascontiguousarray(cells.counts_NG[:, order_G]), cells.library_size_N, cells.labels_N)
    expected, found = fitted(cells), fitted(moved)
    np.testing.assert_allclose(probabilities(found, moved), probabilities(expected, cells), atol=0.02)
    np.testing.assert_allclose(found.label_map.weight_GC, expected.label_map.weight_GC[order_G], atol=0.02)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_the_order_of_cells_changes_only_the_folds(seed: int) -> None:
    """On types that are clear, the same are predicted whatever the folds."""
    cells = noisy_cells()
    moved = cells.take(np.random.default_rng(seed).permutation(len(cells)))
    expected_NC, found_NC = (probabilities(fitted(one), cells) for one in (cells, moved))
    np.testing.assert_array_equal(found_NC.argmax(axis=1), expected_NC.argmax(axis=1))


def test_unlabelled_cells_have_an_effect_through_the_components_only() -> None:
    cells = noisy_cells(noise=0.2)
    cells.labels_N[::2] = -1
    labelled = cells.take(labelled_rows([cells]))
    components = principal_components([cells], 6)
    found = fit_label_map([cells], LABELS, components, SETTINGS)
    expected = fit_label_map([labelled], LABELS, components, SETTINGS)
    np.testing.assert_array_equal(found.label_map.weight_GC, expected.label_map.weight_GC)
    np.testing.assert_array_equal(found.rows_N, np.flatnonzero(cells.labels_N >= 0))
    np.testing.assert_array_equal(found.log_probability_NC, expected.log_probability_NC)


def test_held_out_predictions_know_nothing_of_the_cell_itself() -> None:
    """With labels that are random, they are no better than chance; the map itself is."""
    cells = noisy_cells(30, noise=1.0)
    fit = fitted(cells, SETTINGS.replace(penalties=(1e-4,), components=()))
    assert fit.label_map.report["loss"] == pytest.approx(
        balanced_loss(fit.log_probability_NC, cells.labels_N), rel=1e-5
    )
    assert fit.label_map.report["loss"] > np.log(3)
    assert balanced_loss(np.log(probabilities(fit, cells)), cells.labels_N) < np.log(3) / 2


@pytest.mark.parametrize("rare", [1, 2])
def test_a_type_with_one_or_two_cells_is_learned(rare: int) -> None:
    cells = noisy_cells()
    rows_N = np.concatenate([np.flatnonzero(cells.labels_N < 2), np.flatnonzero(cells.labels_N == 2)[:rare]])
    few = cells.take(rows_N)
    fit = fitted(few)
    predicted_N = probabilities(fit, cells).argmax(axis=1)
    assert (predicted_N == cells.labels_N).mean() > 0.8
    unknown_N = np.isnan(fit.log_probability_NC).any(axis=1)
    np.testing.assert_array_equal(unknown_N, (few.labels_N == 2) & (rare == 1))


def test_cells_beyond_the_limit_are_predicted_by_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = noisy_cells(330)
    activity_NR = activities(cells)
    fit = fitted(cells, SETTINGS.replace(max_cells=100), activity_NR=activity_NR)
    report = fit.label_map.report
    assert (report["labelled_cells"], report["fitted_cells"]) == (330, 99)
    assert report["fitted_cells_per_type"] == dict.fromkeys(LABELS, 33)
    assert np.isfinite(fit.log_probability_NC).all()
    by_map_NC = np.log(probabilities(fit, cells, activity_NR))
    assert np.isclose(by_map_NC, fit.log_probability_NC, atol=1e-3).all(axis=1).sum() >= 231


def test_activities_are_used_where_they_tell_the_types_apart() -> None:
    cells = noisy_cells()
    activity_NR = np.eye(3, dtype=np.float32)[cells.labels_N] * 5 + 3
    cells.counts_NG[:] = np.random.default_rng(0).poisson(1.0, size=cells.counts_NG.shape)
    fit = fitted(cells, activity_NR=activity_NR)
    assert fit.label_map.report["activities_weight"] > 0.5
    assert fit.label_map.weight_RC is not None
    assert (probabilities(fit, cells, activity_NR).argmax(axis=1) == cells.labels_N).all()
    without = fitted(cells, SETTINGS.replace(activities=False), activity_NR=activity_NR)
    assert without.label_map.weight_RC is None
    assert without.label_map.report["activities_weight"] == 0


def test_the_report_is_json_and_complete() -> None:
    report = fitted(noisy_cells(noise=0.3)).label_map.report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {one["view"] for one in report["candidates"]} == {"scaled_genes", "genes", "components_3", "components_6"}
    assert report["folds"] == 3
    assert report["loss"] <= min(one["loss"] for one in report["candidates"]) + 1e-6
    assert 1 <= len(report["picks"]) <= SETTINGS.picks


def test_donors_are_held_out_together() -> None:
    """Labels that follow the donor are learned from cells of the same donor only."""
    cells, rng = noisy_cells(), np.random.default_rng(0)
    donor_N = rng.integers(9, size=len(cells))
    cells.counts_NG[:] = rng.poisson(0.5 + 10 * (np.arange(24) // 2 == donor_N[:, None]))
    cells.labels_N[:] = donor_N % 3
    assert fitted(cells).label_map.report["loss"] < 0.7
    assert fitted(cells, groups_N=donor_N).label_map.report["loss"] > 1.0


def test_labels_that_cannot_be_learned_are_refused() -> None:
    cells = noisy_cells()
    components = principal_components([cells], 3)

    def refused(labels_N: np.ndarray, message: str, settings: LabelSettings = SETTINGS) -> None:
        some = CellArrays(cells.counts_NG, cells.library_size_N, labels_N)
        with pytest.raises(UserError, match=message):
            fit_label_map([some], LABELS, components, settings)

    refused(np.ones(90, dtype=np.int64), "all 'beta'")
    refused(np.full(90, -1), "no label")
    refused(np.arange(90) % 2, "no training cell is labelled 'gamma'")
    refused(np.where(np.arange(90) < 3, np.arange(90), -1), "single labelled")
    refused(cells.labels_N, "nothing to learn from", SETTINGS.replace(genes=False, components=(), activities=False))


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    fitted(noisy_cells(), on_progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


def test_rows_are_positions_in_the_concatenation() -> None:
    cells = noisy_cells()
    cells.labels_N[:10] = -1
    parts = [cells.chunk(0, 30), cells.chunk(30, 90)]
    np.testing.assert_array_equal(take(parts, labelled_rows(parts)).labels_N, cells.labels_N[10:])
    assert label_ensemble.labelled_rows(parts)[0] == 10
