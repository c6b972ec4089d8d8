"""Reading ahead, library sizes, the session: the parts of scoring a file."""

import sys
import threading
import time
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sctransformer.annotation.prefetch import prefetch
from sctransformer.annotation.session import ScoringSession, usable_runtime
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle


def test_items_come_in_order() -> None:
    assert list(prefetch(range(50))) == list(range(50))


def test_an_error_of_the_thread_comes_out_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise UserError("broken")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(UserError, match="broken"):
        next(ahead)


def test_the_thread_stays_near_and_ends_with_its_consumer() -> None:
    produced = []

    def items() -> Iterator[int]:
        for item in range(1000):
            produced.append(item)
            yield item

    before = threading.active_count()
    ahead = prefetch(items(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(produced) <= 4
    ahead.close()
    assert threading.active_count() == before


COUNTS = sparse.csr_matrix(np.array([[1.0, 2.0], [0.0, 0.0]]))


def test_library_sizes_come_from_the_column_if_there_is_one() -> None:
    obs = pd.DataFrame({"library_size": [10.0, 0.0], "other": [7, 0]})
    assert choose_library_sizes(obs, None, "f").of_chunk(0, COUNTS).tolist() == [10, 0]
    assert choose_library_sizes(obs, "other", "f").of_chunk(0, COUNTS).tolist() == [7, 0]
    assert choose_library_sizes(obs[["other"]], None, "f").of_chunk(0, COUNTS).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"total_counts": [9, 9, 9]}, "total_counts"),
        ({"n_counts": ["9", "9", "x"]}, "n_counts"),
        ({"nCount_RNA": pd.Categorical([9.5, 9.5, None])}, "nCount_RNA"),
        ({"total_counts": [3.05, 3.0, 3.1]}, None),
        ({"total_counts": [np.nan, np.nan, 9]}, None),
        ({"total_counts": [9, 9, 9], "library_size": [4, 4, 4]}, None),
        ({"other": [9, 9, 9]}, None),
    ],
)
def test_a_column_that_says_more_than_the_sums_is_found(columns: dict[str, Any], found: str | None) -> None:
    sizes = choose_library_sizes(pd.DataFrame(columns), None, "f", "raw.X")
    assert sizes.larger_column(np.full(3, 3.0)) == found
    assert str(sizes) == ("obs['library_size']" if "library_size" in columns else "sum of raw.X")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0, 2.0])
def test_a_library_size_that_makes_no_sense_is_named(value: float) -> None:
    obs = pd.DataFrame({"library_size": [value, 5.0]}, index=["first", "second"])
    with pytest.raises(UserError, match=r"f: obs\['library_size'\] of cell 'first'"):
        choose_library_sizes(obs, None, "f").of_chunk(0, COUNTS)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"f: obs has no column 'size' \(columns: a, b\)"):
        choose_library_sizes(pd.DataFrame({"a": [1], "b": [2]}), "size", "f")


def test_the_session_says_what_runs_and_scores_one_cell_or_many(bundle_folder: Path) -> None:
    session = ScoringSession(read_bundle(bundle_folder), threads=1)
    assert session.provider == "CPUExecutionProvider"
    counts_NG = np.random.default_rng(0).poisson(2.0, (5, 24)).astype(np.float32)
    scores = session.score(counts_NG, counts_NG.sum(axis=1))
    assert scores.probabilities_NC.shape == (5, 3)
    assert scores.embedding_NE.shape == (5, 8)
    assert scores.probabilities_NC.dtype == scores.embedding_NE.dtype == np.float32
    np.testing.assert_allclose(scores.probabilities_NC.sum(axis=1), 1.0, rtol=1e-5)
    alone = session.score(counts_NG[:1], counts_NG[:1].sum(axis=1))
    np.testing.assert_allclose(alone.probabilities_NC, scores.probabilities_NC[:1], atol=1e-6)


def test_a_cell_without_counts_gives_numbers(bundle_folder: Path) -> None:
    session = ScoringSession(read_bundle(bundle_folder))
    scores = session.score(np.zeros((1, 24), np.float32), np.zeros(1, np.float32))
    assert np.isfinite(scores.probabilities_NC).all()
    assert np.isfinite(scores.embedding_NE).all()


def test_an_emptied_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(UserError, match=r"no InferenceSession .* install exactly one"):
        usable_runtime()


def test_an_absent_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"cannot be imported .* install exactly one"):
        usable_runtime()


def test_both_packages_at_once_are_mentioned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    usable_runtime()
    assert "both installed" in caplog.text
