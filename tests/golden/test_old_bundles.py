"""Bundles of every released version stay readable, and label cells as they did then.

`bundle-<version>` is what that version wrote for the simulated cells of tests/conftest.py; `cells.json` beside it holds
raw counts and the outputs of its graph. Written once, when the version was released.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sctransformer.annotation.genes import match_genes, named_by_symbol, require_coverage
from sctransformer.annotation.session import ScoringSession
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.evidence import evidence_of
from sctransformer.registry.gates import check_gates
from sctransformer.registry.packaging import save_model
from sctransformer.registry.policy import Policy

HERE = Path(__file__).parent
OLD = sorted(HERE.glob("bundle-*"))


def test_there_is_one() -> None:
    assert [path.name for path in OLD][:1] == ["bundle-0.1.0"]


@pytest.mark.parametrize("folder", OLD, ids=lambda path: path.name)
def test_labels_are_unchanged(folder: Path) -> None:
    expected = json.loads((HERE / f"cells-{folder.name.removeprefix('bundle-')}.json").read_text())
    bundle = read_bundle(folder)
    assert bundle.identity == expected["identity"]
    genes, _, _ = named_by_symbol(bundle.vocabulary, pd.DataFrame(index=expected["genes"]), "cells")
    match = match_genes(bundle.vocabulary, genes)
    require_coverage(match, bundle.vocabulary, pd.Index(expected["genes"]), "cells", 0.8)
    counts = sparse.csr_matrix(np.array(expected["counts"], dtype=np.float32))
    sizes = np.array(expected["library_size"], dtype=np.float32)
    probabilities = ScoringSession(bundle).score(match.gather(counts), sizes).probabilities_NC
    names = bundle.labels["name"].to_numpy()
    assert names[probabilities.argmax(axis=1)].tolist() == expected["labels"]
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-5)


@pytest.mark.parametrize("folder", OLD, ids=lambda path: path.name)
def test_gates_and_packaging_accept_it(folder: Path, tmp_path: Path) -> None:
    results = {one.gate: one for one in check_gates(evidence_of(read_bundle(folder)), None, Policy())}
    assert results["bundle_checksums"].passed
    # Its lineage lacks what is asked for since, so it cannot become champion; one that is stays so, and labels cells.
    assert results["lineage_complete"].reason == "not recorded: params, packages, who, when"
    assert save_model(folder, tmp_path / "model").identity == read_bundle(folder).identity
