"""What a report shows. Collected by `annotated` and `training`, rendered by `page`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_CELLS = 50_000
"""Cells on the map; of more cells a random sample is shown."""
SEED = 0
"""Random seed of the sample and of the positions."""


@dataclass(frozen=True)
class Grouping:
    """A category of each shown cell, such as its label."""

    title: str
    """In plain words, for the page."""
    names: list[str]
    """The categories."""
    code_N: NDArray[np.int32]
    """Position of each cell's category in `names`; -1 for none."""


@dataclass(frozen=True)
class Values:
    """A number of each shown cell, such as its confidence."""

    title: str
    value_N: NDArray[np.float32]
    limit: float | None = None
    """A threshold that the model applies to it."""


@dataclass(frozen=True)
class ShownCells:
    """The cells on the map, in the order of their file."""

    names: list[str]
    total: int
    """Number of cells in the file."""
    position_N2: NDArray[np.float32]
    position_source: str
    """Where the positions come from, as a sentence without full stop."""
    groupings: Mapping[str, Grouping]
    """By name of the column."""
    values: Mapping[str, Values]
    """By name of the column."""
    activity_NR: NDArray[np.float32] | None
    """Activities in standard deviations of the training cells, in the order of `Regulators.names`; NaN where not
    measured. None without activities."""
    top: list[str] | None
    """The column `top_regulators`; None if the file has none."""
    source: str
    """The file that they come from."""


@dataclass(frozen=True)
class Regulators:
    """The regulators of a model."""

    names: list[str]
    evidence_R: NDArray[np.float64] | None
    """Fraction of shuffled networks that the regulator's targets beat; None if the model has none."""
    types: list[str]
    """Rows of `mean_CR`."""
    mean_CR: NDArray[np.float64]
    """Mean activity of each cell type, in standard deviations of the training cells; NaN where not known."""
    cells: str
    """The cells that these means are of, in words that fit after "in"."""
    source: str
    """The file that they come from."""
    details: pd.DataFrame
    """A row per regulator, with columns of `Bundle.regulators` such as `targets`, `departure` and `agreement`."""
    edges: pd.DataFrame | None = None
    """See `regulons.edges_of`; None without the model."""
    edges_source: str = ""
    """The files that they come from."""


@dataclass(frozen=True)
class Results:
    """The results of a training. Each is empty or None if its file does not exist."""

    metrics: Mapping[str, Any]
    """Metrics of the model (`test`), of logistic regression (`baseline`), and their difference (`versus_baseline`)."""
    classes: Mapping[str, Any]
    """Metrics of each cell type for `test` and `baseline`."""
    intervals: Mapping[str, Any]
    """95 % intervals of macro-F1 of `test` and `baseline`."""
    predictions: pd.DataFrame | None
    """True and predicted label of each test cell: cell, cell_type, predicted."""
    risk_coverage: Mapping[str, Sequence[Mapping[str, float]]]
    """Risk-coverage curves by name of the cells."""
    rejection_threshold: float | None
    control: Mapping[str, Any]
    """The comparison with shuffled networks."""
    sources: Mapping[str, str]
    """The file of each section: `metrics`, `confusion`, `risk`, `control`, `evidence`."""


@dataclass(frozen=True)
class Composition:
    """Labels of several files."""

    files: list[str]
    labels: list[str]
    cells_FC: NDArray[np.int64]
    """Number of cells, files x labels."""
    source: str
    """The folder of the files."""


@dataclass(frozen=True)
class Report:
    """All that a page shows."""

    title: str
    facts: Sequence[tuple[str, str]]
    """Names and values, for the head of the page."""
    cells: ShownCells | None = None
    regulators: Regulators | None = None
    results: Results | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    """What is missing from the page and how to get it, a sentence each."""
    composition: Composition | None = None
