"""Candidate and champion on the same cells, both scored again with the graphs that are registered."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sctransformer._constants import OBS
from sctransformer.annotation.genes import MIN_COVERAGE, match_genes, named_by_symbol, require_coverage
from sctransformer.annotation.session import ScoringSession, score_as_served
from sctransformer.data.cells import CellFile
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.errors import UserError
from sctransformer.evaluation.paired import PairedComparison, compare
from sctransformer.export.bundle import Bundle
from sctransformer.files import sha256_json

ROWS = 512
"""Cells that are scored at once; memory grows with them."""
SEED = 0
"""Of the bootstrap."""


@dataclass(frozen=True)
class TestCells:
    """Labelled cells that no model to be compared was trained on."""

    path: Path
    truth_N: list[str]
    donors_N: list[str] | None
    sha256: str
    """Of names and labels: that of `metrics.json`, if these are the cells that the figures there were measured on."""


def read_test_cells(path: Path) -> TestCells:
    """Names, labels and donors of a file of test cells, as the stage `evaluate` writes it.

    Raises:
        UserError: there is no such file, it is not readable, or cells have no label.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; `dvc repro evaluate` writes it, `dvc pull evaluate` fetches it.")
    with CellFile(path) as file:
        obs = file.obs
    if OBS.cell_type not in obs:
        raise UserError(f"{path}: obs has no column {OBS.cell_type!r}; give the test cells with their labels.")
    if obs[OBS.cell_type].isna().any() or not len(obs):
        raise UserError(f"{path}: has no cells, or cells without a label; give the test cells with their labels.")
    truth = obs[OBS.cell_type].astype(str).tolist()
    donors = obs[OBS.donor].astype(str).tolist() if OBS.donor in obs else None
    names = obs.index.astype(str).tolist()
    return TestCells(path, truth, donors, sha256_json([list(pair) for pair in zip(names, truth, strict=True)]))


def labels_given(bundle: Bundle, path: Path) -> list[str]:
    """The most likely label of each cell of a file, as `annotate` would give it; nothing is rejected.

    Raises:
        UserError: too many genes are missing, or a value is no raw count.
    """
    names = bundle.labels["name"].to_numpy()
    session = ScoringSession(bundle)
    given: list[str] = []
    with CellFile(path) as file:
        genes, _ = named_by_symbol(bundle.vocabulary, file.var, str(path))
        match = match_genes(bundle.vocabulary, genes)
        require_coverage(match, bundle.vocabulary, genes, str(path), MIN_COVERAGE)
        library_sizes = choose_library_sizes(file.obs, None, str(path))
        for start, chunk in file.chunks(ROWS):
            library_size_N = library_sizes.of_chunk(start, chunk).astype(np.float32)
            scores = score_as_served(session, match.gather(chunk), library_size_N, match, bundle.vocabulary)
            given += names[scores.probabilities_NC.argmax(axis=1)].tolist()
    return given


def rescored(candidate: Bundle, champion: Bundle, cells: TestCells) -> PairedComparison:
    """Candidate minus champion on these cells."""
    one, other = (labels_given(bundle, cells.path) for bundle in (candidate, champion))
    return compare(cells.truth_N, one, other, SEED, cells.donors_N)
