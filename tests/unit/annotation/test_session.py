"""The scoring session, and errors of a missing or broken onnxruntime."""

import sys
import types
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from sctransformer.annotation.session import ScoringSession, usable_runtime
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle


def test_the_session_names_its_provider_and_scores_one_cell_or_many(bundle_folder: Path) -> None:
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


def test_a_cell_without_counts_gives_finite_outputs(bundle_folder: Path) -> None:
    session = ScoringSession(read_bundle(bundle_folder))
    scores = session.score(np.zeros((1, 24), np.float32), np.zeros(1, np.float32))
    assert np.isfinite(scores.probabilities_NC).all()
    assert np.isfinite(scores.embedding_NE).all()


def test_an_empty_onnxruntime_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(UserError, match=r"no InferenceSession .* install exactly one"):
        usable_runtime()


def test_an_absent_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"cannot be imported .* install exactly one"):
        usable_runtime()


def test_a_warning_names_both_packages(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    usable_runtime()
    assert "both installed" in caplog.text
