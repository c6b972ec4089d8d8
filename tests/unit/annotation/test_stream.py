"""Scoring a file in threads: the same bits, and errors in the middle."""

import threading
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer.annotation import shards
from sctransformer.annotation.labelling import CellLabels, Labeller
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.reading import CheckedCells, check_cells
from sctransformer.annotation.session import BATCH_CELLS, Scores, ScoringSession, batch_cells_on
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.shards import ShardStore
from sctransformer.annotation.stream import label_all, plan_shards, score_shards
from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from tests.conftest import GENES, simulated_cells


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return read_bundle(bundle_folder)


def checked(bundle: Bundle, cells: AnnData) -> CheckedCells:
    return check_cells(AnnDataCells(cells, "X"), bundle.vocabulary)


def labelled(bundle: Bundle, cells: AnnData, threads: int, batch_cells: int | None = None) -> CellLabels:
    session, read = ScoringSession(bundle, threads), checked(bundle, cells)
    return label_all(read, Labeller(session, bundle.vocabulary, read.match), session.batch_cells(batch_cells))


def require_same_bits(left: CellLabels, right: CellLabels) -> None:
    for name, values in vars(left).items():
        np.testing.assert_array_equal(values, getattr(right, name))


def test_results_have_the_same_bits_for_any_number_of_threads_and_any_batch_size(bundle: Bundle) -> None:
    cells = simulated_cells(1000)[:, GENES[:-2]].copy()  # two genes are filled in
    plain = labelled(bundle, cells, 1)
    for threads in (1, 2, 3):
        for batch_cells in (1, 7, 64, 100, 1000):
            require_same_bits(labelled(bundle, cells, threads, batch_cells), plain)


def test_a_table_in_memory_has_the_same_bits_as_a_file(bundle: Bundle) -> None:
    cells, session = simulated_cells(3 * BATCH_CELLS + 1), ScoringSession(bundle, 3)
    sizes_N = cells.obs["library_size"].to_numpy(dtype=np.float32)
    read = checked(bundle, cells)
    of_table = Labeller(session, bundle.vocabulary, read.match).label(cells.X, sizes_N)
    require_same_bits(of_table, labelled(bundle, cells, 1))


def test_outputs_have_the_same_bytes_for_any_number_of_threads_and_any_batch_size(
    bundle: Bundle, tmp_path: Path
) -> None:
    simulated_cells(1100).write_h5ad(tmp_path / "cells.h5ad")

    def written(folder: str, settings: AnnotationSettings) -> tuple[bytes, dict[str, object]]:
        summary = annotate_file(Model(bundle, "m", "1"), tmp_path / "cells.h5ad", tmp_path / folder, settings)
        return summary.output.read_bytes(), summary.profile

    plain = written("plain", AnnotationSettings(threads=1))
    assert written("threads", AnnotationSettings(threads=2)) == plain
    assert written("batches", AnnotationSettings(threads=2, batch_cells=200)) == plain


def test_a_cpu_batch_is_a_multiple_of_one_run_of_the_graph() -> None:
    assert [batch_cells_on(False, wanted) for wanted in (None, 1, 64, 65, 256)] == [64, 64, 64, 128, 256]
    assert [batch_cells_on(True, wanted) for wanted in (None, 1, 65)] == [256, 1, 65]


def test_the_sums_of_a_shard_are_those_of_the_dense_counts(bundle: Bundle, tmp_path: Path) -> None:
    cells = simulated_cells(300)
    cells.X.data[:50] = 0  # stored zeros
    read, session = checked(bundle, cells), ScoringSession(bundle, 2)
    store = ShardStore(tmp_path, plan_shards(300, 64))
    score_shards(read, Labeller(session, bundle.vocabulary, read.match), store, [0])
    counts_NG, sizes_N = cells.X.toarray(), cells.obs["library_size"].to_numpy()
    shard = store.read(0)
    np.testing.assert_array_equal(shard.detected_G, (counts_NG > 0).sum(axis=0))
    np.testing.assert_allclose(shard.expression_G, np.log1p(counts_NG * 1e4 / sizes_N[:, None]).sum(axis=0), rtol=1e-5)


class _Failing(ScoringSession):
    """Fails on the cells of one library size."""

    def score(
        self,
        counts_NG: NDArray[np.float32],
        library_size_N: NDArray[np.float32],
        measured_G: NDArray[np.bool_] | None = None,
        activity: bool = True,
    ) -> Scores:
        if (library_size_N == 12345).any():
            raise UserError("broken")
        return super().score(counts_NG, library_size_N, measured_G, activity)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_one_batch_stops_scoring_and_keeps_complete_shards(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_CELLS", 512)
    cells = simulated_cells(3000)
    cells.obs.loc["cell1300", "library_size"] = 12345
    read, before = checked(bundle, cells), threading.active_count()
    store = ShardStore(tmp_path, plan_shards(3000, 64))
    labeller = Labeller(_Failing(bundle, threads), bundle.vocabulary, read.match)
    with pytest.raises(UserError, match="broken"):
        score_shards(read, labeller, store, store.missing())
    assert threading.active_count() == before
    assert ShardStore(tmp_path, store.plan).missing() == [2, 3, 4, 5]
