"""Candidate and champion on the same test cells, both scored again with their registered graphs."""

from dataclasses import dataclass
from pathlib import Path

from sctransformer._constants import OBS
from sctransformer.annotation.labelling import Labeller
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.session import ScoringSession
from sctransformer.annotation.stream import label_all
from sctransformer.data.cells import CellFile
from sctransformer.data.count_search import X
from sctransformer.errors import UserError
from sctransformer.evaluation.paired import PairedComparison, compare
from sctransformer.export.bundle import Bundle
from sctransformer.files import sha256_json

SEED = 0
"""Random seed for the bootstrap."""


@dataclass(frozen=True)
class TestCells:
    """Labelled cells that none of the compared models was trained on. N: cells."""

    path: Path
    truth_N: list[str]
    donors_N: list[str] | None
    sha256: str
    """Digest of names and labels; equal to that in `metrics.json` if these cells gave the metrics there."""


def read_test_cells(path: Path) -> TestCells:
    """Read names, labels and donors from a file of test cells, as the stage `evaluate` writes it.

    Raises:
        UserError: there is no such file, it cannot be read, or cells have no label.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; `dvc repro evaluate` writes it, `dvc pull evaluate` fetches it.")
    with CellFile(path, X) as file:
        obs = file.obs
    if OBS.cell_type not in obs:
        raise UserError(f"{path}: obs has no column {OBS.cell_type!r}; give the test cells with their labels.")
    if obs[OBS.cell_type].isna().any() or not len(obs):
        raise UserError(f"{path}: has no cells, or cells without a label; give the test cells with their labels.")
    truth = obs[OBS.cell_type].astype(str).tolist()
    donors = obs[OBS.donor].astype(str).tolist() if OBS.donor in obs else None
    names = obs.index.astype(str).tolist()
    return TestCells(path, truth, donors, sha256_json([list(pair) for pair in zip(names, truth, strict=True)]))


def predict_labels(bundle: Bundle, path: Path) -> list[str]:
    """Predict the most likely label of each test cell of a file; no cell is rejected.

    As `annotate` does, but by the evaluated model: the labels of the exported one may be fitted on these cells too.

    Raises:
        UserError: too many genes are missing, or a value is not a raw count.
    """
    names = bundle.labels["name"].to_numpy()
    with open_cells(path, bundle.vocabulary) as file:
        read = check_cells(file, bundle.vocabulary)
        session = ScoringSession(bundle, evaluated=True)
        labels = label_all(read, Labeller(session, bundle.vocabulary, read.match), session.batch_cells(None))
    return names[labels.best_N].tolist()


def rescored(candidate: Bundle, champion: Bundle, cells: TestCells) -> PairedComparison:
    """Score both on these cells; differences are candidate minus champion."""
    one, other = (predict_labels(bundle, cells.path) for bundle in (candidate, champion))
    return compare(cells.truth_N, one, other, SEED, cells.donors_N)
