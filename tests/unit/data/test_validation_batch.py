"""Checks of a file of cells to annotate against the gene panel of a model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.statistics import count_statistics
from sctransformer.data.validation.batch import check_batch
from sctransformer.data.validation.limits import BatchLimits
from sctransformer.data.validation.report import Report
from sctransformer.data.validation.suites import columns_of, read_suite, suite_names
from tests.conftest import GENES, simulated_cells

pytestmark = pytest.mark.usefixtures("compared_with_great_expectations")

WEIGHTS_G = np.linspace(2.0, 0.1, len(GENES))
LENIENT = BatchLimits(min_library_size=10)
"""Limits for simulated cells, which have few counts."""


def checked(
    change: Callable[[NDArray], NDArray | None] = lambda counts_NG: None,
    genes: list[str] = GENES,
    names: list[str] | None = None,
    library_size_N: NDArray | None = None,
    limits: BatchLimits = LENIENT,
    data_docs: Path | None = None,
) -> Report:
    """Report on 60 valid cells after `change` has changed their counts."""
    counts_NG = simulated_cells(60).X.toarray()
    changed = change(counts_NG)
    counts_NG = counts_NG if changed is None else changed
    statistics = count_statistics([(0, sparse.csr_matrix(counts_NG))], genes)
    cells = names or [f"cell{index}" for index in range(len(counts_NG))]
    return check_batch(
        "new.h5ad", cells, genes, statistics, GENES, WEIGHTS_G, library_size_N, limits, data_docs
    )  # fmt: skip


def set_row(value: float, row: int | slice = 3) -> Callable[[NDArray], None]:
    return lambda counts_NG: counts_NG.__setitem__(row, value)


def sizes_with(value: float) -> NDArray:
    sizes_N = np.full(60, 500.0)
    sizes_N[3] = value
    return sizes_N


CRITICAL: dict[tuple[str, str], tuple[Callable[[], Report], str]] = {
    ("batch_file", "cells"): (lambda: checked(lambda counts_NG: counts_NG[:0]), "1 of 1: 'new.h5ad', cells 0"),
    ("batch_file", "coverage"): (
        lambda: checked(genes=[name.lower() for name in GENES]),
        "1 of 1: 'new.h5ad', coverage 0; the file lacks too many of the model's genes",
    ),
    ("batch_cells", "lowest_count"): (lambda: checked(set_row(-1.0)), "1 of 60: 'cell3', lowest_count -1"),
    ("batch_cells", "fractional_values"): (lambda: checked(set_row(0.5)), "1 of 60: 'cell3', fractional_values 24"),
    ("batch_cells", "counts"): (
        lambda: checked(set_row(0.0, slice(0, 40))),
        "40 of 60 (allowed 50.0%): 'cell0', counts 0",
    ),
    ("batch_cells", "library_size > counts"): (
        lambda: checked(library_size_N=sizes_with(20.0)),
        "1 of 60: 'cell3', library_size 20, counts ",
    ),
}
WARNINGS: dict[tuple[str, str], tuple[Callable[[], Report], str]] = {
    ("batch_file", "largest_count"): (
        lambda: checked(lambda counts_NG: np.rint(np.log1p(counts_NG))),
        "'new.h5ad', largest_count 3",
    ),
    ("batch_file", "median_zeros"): (lambda: checked(lambda counts_NG: counts_NG + 1), "'new.h5ad', median_zeros 0"),
    ("batch_cells", "cell"): (lambda: checked(names=["twice", "twice", *map(str, range(58))]), "2 of 60: 'twice'"),
    ("batch_cells", "counts"): (lambda: checked(set_row(0.0)), "1 of 60: 'cell3', counts 0"),
    ("batch_cells", "library_size"): (
        lambda: checked(limits=BatchLimits(min_library_size=1_000)),
        "60 of 60: 'cell0', library_size ",
    ),
    ("batch_cells", "times_median"): (
        lambda: checked(library_size_N=sizes_with(50_000.0)),
        "1 of 60: 'cell3', times_median 100",
    ),
    ("batch_genes", "gene"): (lambda: checked(genes=[*GENES[:-2], "", "GENE0"]), "2 of 24: 'GENE0'; 'GENE0'"),
    ("batch_panel", "in_file"): (
        lambda: checked(genes=["X2", "X1", *GENES[2:]], limits=BatchLimits(min_coverage=0.5)),
        "2 of 24: 'GENE0', in_file False; 'GENE1', in_file False",
    ),
}


def test_valid_cells_meet_every_expectation() -> None:
    report = checked()
    assert report.failures == []
    assert report.met == 15


def test_every_expectation_on_batches_has_a_test_that_fails_it() -> None:
    expected = {
        (name, " > ".join(columns_of(expectation)), expectation["severity"])
        for name in suite_names()
        if name.startswith("batch_")
        for expectation in read_suite(name)["expectations"]
    }
    assert expected == {(*key, "critical") for key in CRITICAL} | {(*key, "warning") for key in WARNINGS}


@pytest.mark.parametrize(("suite", "column"), CRITICAL)
def test_cells_that_a_model_cannot_label_are_critical_failures(suite: str, column: str) -> None:
    report, found = CRITICAL[suite, column][0](), CRITICAL[suite, column][1]
    (failure,) = [failure for failure in report.critical if (failure.suite, failure.column) == (suite, column)]
    assert found in failure.sentence("new.h5ad")


@pytest.mark.parametrize(("suite", "column"), WARNINGS)
def test_unusual_cells_are_warnings(suite: str, column: str) -> None:
    report, found = WARNINGS[suite, column][0](), WARNINGS[suite, column][1]
    assert not report.critical
    sentences = [failure.sentence("new.h5ad") for failure in report.warnings if failure.suite == suite]
    assert any(found in sentence for sentence in sentences)


def test_coverage_uses_the_weights_of_genes() -> None:
    """The third of the genes with the lowest weights has less than a third of the total weight."""
    lightest = [f"other{index}" for index in range(8)]
    assert not checked(genes=[*GENES[:16], *lightest]).critical
    (failure,) = checked(genes=[*lightest, *GENES[8:]]).critical
    assert failure.column == "coverage"


def test_pages_are_written_to_the_given_folder(tmp_path: Path) -> None:
    checked(data_docs=tmp_path / "docs")
    assert (tmp_path / "docs/index.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
