"""Suites load from their files; each critical expectation can fail, and its message names file, column and values."""

from collections.abc import Callable

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.statistics import count_statistics
from sctransformer.data.validation.limits import BatchLimits, TrainingLimits
from sctransformer.data.validation.report import Failure, Report
from sctransformer.data.validation.suites import SUITES, columns_of, parameters_of, read_suite, suite_names
from sctransformer.data.validation.tables import network_tables, training_tables
from sctransformer.data.validation.validate import run_suites
from sctransformer.files import read_json
from tests.conftest import EDGES, GENES, simulated_cells

pytestmark = pytest.mark.usefixtures("compared_with_great_expectations")

Tables = dict[str, pd.DataFrame]
LIMITS = TrainingLimits().model_dump()
REPAIRS = {"lines": 90, "self_edges": 0, "merged": 0, "sign_conflicts": 0, "sign_ties": 0}
CELLXGENE = {
    "cell_type_ontology_term_id": "CL:0000236",
    "assay_ontology_term_id": "EFO:0009922",
    "development_stage_ontology_term_id": "HsapDv:0000258",
    "disease_ontology_term_id": "MONDO:0004604 || MONDO:0043004",
    "organism_ontology_term_id": "NCBITaxon:9606",
    "self_reported_ethnicity_ontology_term_id": "HANCESTRO:0005",
    "sex_ontology_term_id": "PATO:0000383",
    "tissue_ontology_term_id": "UBERON:0000178",
    "suspension_type": "cell",
    "tissue_type": "tissue",
}


def training(
    change: Callable[[pd.DataFrame, NDArray], object] = lambda obs, counts_NG: None, genes: list[str] = GENES
) -> Tables:
    """Tables of 90 valid cells of three types from two donors, after `change` has changed obs or counts."""
    cells = simulated_cells()
    obs, counts_NG = cells.obs.copy(), cells.X.toarray()
    obs[OBS.donor] = pd.Categorical(np.where(np.arange(len(obs)) % 2, "anna", "ben"))
    obs[OBS.ontology_term] = pd.Categorical(["CL:0000236"] * len(obs))
    changed = change(obs, counts_NG)
    obs, counts_NG = changed if isinstance(changed, tuple) else (obs, counts_NG)
    return training_tables(obs, pd.Index(genes), count_statistics([(0, sparse.csr_matrix(counts_NG))], genes))


def in_obs(column: str, value: object, cell: str = "cell3") -> Callable[[pd.DataFrame, NDArray], None]:
    """Set the value of one cell in a column of obs."""

    def change(obs: pd.DataFrame, counts_NG: NDArray) -> None:
        if isinstance(value, str):
            obs[column] = obs[column].astype(str)
        obs.loc[cell, column] = value

    return change


def as_type(column: str, kind: str) -> Callable[[pd.DataFrame, NDArray], None]:
    def change(obs: pd.DataFrame, counts_NG: NDArray) -> None:
        obs[column] = obs[column].astype(kind)

    return change


def without(column: str) -> Callable[[pd.DataFrame, NDArray], None]:
    return lambda obs, counts_NG: obs.drop(columns=column, inplace=True)


def in_counts(gene: int | slice, value: float) -> Callable[[pd.DataFrame, NDArray], None]:
    def change(obs: pd.DataFrame, counts_NG: NDArray) -> None:
        counts_NG[3, gene] = value

    return change


def first_cells(number: int) -> Callable[[pd.DataFrame, NDArray], tuple[pd.DataFrame, NDArray]]:
    return lambda obs, counts_NG: (obs[:number], counts_NG[:number])


def named_alike(obs: pd.DataFrame, counts_NG: NDArray) -> tuple[pd.DataFrame, NDArray]:
    return obs.rename(index={"cell3": "cell4"}), counts_NG


def one_type(obs: pd.DataFrame, counts_NG: NDArray) -> None:
    obs[OBS.cell_type] = pd.Categorical(["alpha"] * len(obs))


def rare_type(obs: pd.DataFrame, counts_NG: NDArray) -> None:
    obs[OBS.cell_type] = pd.Categorical(["alpha"] * 86 + ["rare kind"] * 4)


def network(genes: list[str] = GENES, **of_first: object) -> Tables:
    """Tables of a valid network with changes to its first edge."""
    edges = pd.DataFrame(EDGES, columns=["regulator", "target"], dtype=object)
    edges["sign"], edges["confidence"] = pd.Series(["1"] * len(edges), dtype=object), "high"
    for column, value in of_first.items():
        edges.loc[0, column] = value
    return network_tables(edges, pd.Index(genes), REPAIRS, {"high": 1.0})


def repeated(sign: str) -> Tables:
    """The first edge occurs twice."""
    return network(target=EDGES[1][1], sign=sign)


GENES_RENAMED = {index: f"ENSG{index:011d}" for index in range(len(GENES))}
BREAKS: dict[tuple[str, str, str], tuple[Callable[[], Tables], str]] = {
    ("training_cells", "expect_table_row_count_to_be_between", ""): (
        lambda: training(first_cells(20)),
        "found 20, expected min_value 50",
    ),
    ("training_cells", "expect_column_to_exist", "cell_type"): (
        lambda: training(without(OBS.cell_type)),
        "there is no such column (there are cell, library_size",
    ),
    ("training_cells", "expect_column_to_exist", "library_size"): (
        lambda: training(without(OBS.library_size)),
        "there is no such column (there are cell, cell_type",
    ),
    ("training_cells", "expect_column_values_to_be_of_type", "cell_type"): (
        lambda: training(as_type(OBS.cell_type, "str")),
        "'cell0', cell_type 'alpha'",
    ),
    ("training_cells", "expect_column_values_to_be_in_type_list", "library_size"): (
        lambda: training(as_type(OBS.library_size, "complex128")),
        "found complex128, expected type_list ['float64'",
    ),
    ("training_cells", "expect_column_values_to_be_unique", "cell"): (
        lambda: training(named_alike),
        "2 of 90: 'cell4'; 'cell4'",
    ),
    ("training_cells", "expect_column_values_to_not_be_null", "cell_type"): (
        lambda: training(in_obs(OBS.cell_type, None)),
        "1 of 90: 'cell3'",
    ),
    ("training_cells", "expect_column_values_to_not_be_null", "library_size"): (
        lambda: training(in_obs(OBS.library_size, np.nan)),
        "1 of 90: 'cell3'",
    ),
    ("training_cells", "expect_column_values_to_be_between", "lowest_count"): (
        lambda: training(in_counts(5, -2)),
        "1 of 90: 'cell3', lowest_count -2",
    ),
    ("training_cells", "expect_column_values_to_be_between", "fractional_values"): (
        lambda: training(in_counts(5, 1.5)),
        "1 of 90: 'cell3', fractional_values 1",
    ),
    ("training_cells", "expect_column_values_to_be_between", "library_size"): (
        lambda: training(in_obs(OBS.library_size, 0.0)),
        "1 of 90: 'cell3', library_size 0",
    ),
    ("training_cells", "expect_column_pair_values_a_to_be_greater_than_b", "library_size > counts"): (
        lambda: training(in_obs(OBS.library_size, 7.0)),
        "1 of 90: 'cell3', library_size 7, counts ",
    ),
    ("training_cells", "expect_column_values_to_be_between", "genes_detected"): (
        lambda: training(in_counts(slice(None), 0)),
        "1 of 90: 'cell3', genes_detected 0",
    ),
    ("training_cell_types", "expect_table_row_count_to_be_between", ""): (
        lambda: training(one_type),
        "found 1, expected min_value 2",
    ),
    ("training_cell_types", "expect_column_values_to_be_between", "cells"): (
        lambda: training(rare_type),
        "1 of 2: 'rare kind', cells 4",
    ),
    ("training_genes", "expect_table_row_count_to_be_between", ""): (
        lambda: training(lambda obs, counts_NG: (obs, counts_NG[:, :0]), []),
        "found 0, expected min_value 1",
    ),
    ("training_genes", "expect_column_values_to_be_unique", "gene"): (
        lambda: training(genes=["GENE1", *GENES[1:]]),
        "2 of 24: 'GENE1'; 'GENE1'",
    ),
    ("training_genes", "expect_column_values_to_match_regex", "gene"): (
        lambda: training(genes=["", "CD3 E", *GENES[2:]]),
        "2 of 24: ''; 'CD3 E'",
    ),
    ("training_cellxgene", "expect_column_values_to_be_in_set", "organism_ontology_term_id"): (
        lambda: training(
            lambda obs, _: obs.__setitem__(
                "organism_ontology_term_id", np.where(obs.index == "cell3", "NCBITaxon:10090", "NCBITaxon:9606")
            )
        ),
        "1 of 90: 'cell3', organism_ontology_term_id 'NCBITaxon:10090'",
    ),
    ("training_cellxgene", "expect_column_values_to_match_regex", "cell_type_ontology_term_id"): (
        lambda: training(in_obs(OBS.ontology_term, "CL_0000236")),
        "1 of 90: 'cell3', cell_type_ontology_term_id 'CL_0000236'",
    ),
    ("network_edges", "expect_column_values_to_match_regex", "regulator"): (
        lambda: network(regulator="GENE 0"),
        "1 of 20: 'GENE 0 -> GENE4', regulator 'GENE 0'",
    ),
    ("network_edges", "expect_column_values_to_match_regex", "target"): (
        lambda: network(target=""),
        "1 of 20: 'GENE0 -> ', target ''",
    ),
    ("network_edges", "expect_column_values_to_be_in_set", "sign"): (
        lambda: network(sign="up"),
        "1 of 20: 'GENE0 -> GENE4', sign 'up'",
    ),
    ("network_edges", "expect_column_values_to_not_be_null", "confidence"): (
        lambda: network(confidence="sure"),
        "1 of 20: 'GENE0 -> GENE4'",
    ),
    ("network_edges", "expect_column_values_to_be_between", "confidence"): (
        lambda: network(confidence="0"),
        "1 of 20: 'GENE0 -> GENE4', confidence 0",
    ),
    ("network_edges", "expect_select_column_values_to_be_unique_within_record", "regulator, target"): (
        lambda: network(target="GENE0"),
        "1 of 20: 'GENE0 -> GENE0', regulator 'GENE0', target 'GENE0'",
    ),
    ("network_edges", "expect_column_values_to_be_between", "signs_of_pair"): (
        lambda: repeated("-1"),
        "2 of 20: 'GENE0 -> GENE8', signs_of_pair 2",
    ),
    ("network_edges", "expect_compound_columns_to_be_unique", "regulator, target"): (
        lambda: repeated("1"),
        "2 of 20: 'GENE0 -> GENE8'",
    ),
    ("network_genes", "expect_column_values_to_be_in_set", "in_both"): (
        lambda: network(list(GENES_RENAMED.values())),
        "24 of 24 (allowed 95.0%): 'GENE0', in_both False; ",
    ),
    ("network_in_cells", "expect_table_row_count_to_be_between", ""): (
        lambda: network(list(GENES_RENAMED.values())),
        "found 0, expected min_value 1",
    ),
}
WARNS: dict[tuple[str, str, str], tuple[Callable[[], Tables], str]] = {
    ("training_cells", "expect_column_values_to_be_null", "same_counts_as"): (
        lambda: training(lambda obs, counts_NG: counts_NG.__setitem__(8, counts_NG[3])),
        "1 of 90: 'cell8', same_counts_as 'cell3'",
    ),
    ("training_cells", "expect_column_values_to_be_between", "mitochondrial_share"): (
        lambda: training(genes=["MT-CO1", "MT-CO2", *GENES[2:]]),
        "19 of 90 (allowed 5.0%): 'cell",
    ),
    ("training_cell_types", "expect_column_values_to_not_be_in_set", "cell_type"): (
        lambda: training(
            lambda obs, _: obs.__setitem__(
                OBS.cell_type, obs[OBS.cell_type].cat.rename_categories({"alpha": "unknown"})
            )
        ),
        "1 of 3: 'unknown'",
    ),
    ("training_cell_types", "expect_column_values_to_be_between", "ontology_terms"): (
        lambda: training(in_obs(OBS.ontology_term, "CL:0000084")),
        "1 of 3: 'alpha', ontology_terms 2",
    ),
    ("training_cell_types", "expect_column_values_to_be_between", "donors"): (
        lambda: training(lambda obs, _: obs.__setitem__(OBS.donor, np.where(obs[OBS.cell_type] == "beta", "x", "y"))),
        "3 of 3: 'alpha', donors 1",
    ),
    ("training_donors", "expect_table_row_count_to_be_between", ""): (
        lambda: training(lambda obs, _: obs.__setitem__(OBS.donor, "x")),
        "found 1, expected min_value 2",
    ),
    ("training_donors", "expect_column_values_to_be_between", "cells"): (
        lambda: training(in_obs(OBS.donor, "eve")),
        "1 of 3: 'eve', cells 1",
    ),
    ("training_donors", "expect_column_values_to_be_between", "cell_types"): (
        lambda: training(in_obs(OBS.donor, "eve")),
        "1 of 3: 'eve', cell_types 1",
    ),
    ("training_genes", "expect_column_values_to_match_regex", "gene"): (
        lambda: training(genes=list(GENES_RENAMED.values())),
        "24 of 24 (allowed 50.0%): 'ENSG00000000000'",
    ),
    ("training_genes", "expect_column_values_to_be_between", "cells_expressing"): (
        lambda: training(lambda obs, counts_NG: counts_NG.__setitem__((slice(None), 5), 0)),
        "1 of 24: 'GENE5', cells_expressing 0",
    ),
    ("network_coverage", "expect_column_values_to_be_between", "regulators"): (
        lambda: network(list(GENES_RENAMED.values())),
        "24 of 24 (allowed 99.0%): 'ENSG00000000000', regulators 0",
    ),
}


def only(suite: str, tables: Tables) -> Tables:
    return {suite: tables[suite]}


def failure_of(report: Report, expectation: str, column: str, severity: str) -> Failure:
    (found,) = [
        failure
        for failure in report.failures
        if (failure.expectation, failure.column, failure.severity) == (expectation, column, severity)
    ]
    return found


@pytest.mark.parametrize("name", suite_names())
def test_a_suite_loads_from_its_file_and_is_written_unchanged(name: str) -> None:
    content = read_suite(name)
    suite = gx.ExpectationSuite(**content)
    assert len(suite.expectations) == len(content["expectations"]) > 0
    again = suite.to_json_dict()
    again.pop("id", None)
    again["meta"].pop("great_expectations_version")
    assert again == read_json(SUITES / f"{name}.json")
    assert content["name"] == name
    for expectation in content["expectations"]:
        assert expectation["severity"] in ("critical", "warning")
        assert expectation["notes"]


@pytest.mark.parametrize("name", suite_names())
def test_every_limit_in_a_suite_is_a_parameter(name: str) -> None:
    there = set(BatchLimits.model_fields) if name.startswith("batch_") else set(LIMITS)
    named = {limit for expectation in read_suite(name)["expectations"] for limit in parameters_of(expectation)}
    assert named <= there


def test_every_limit_is_used_by_a_suite() -> None:
    named = {
        limit
        for name in suite_names()
        for expectation in read_suite(name)["expectations"]
        for limit in parameters_of(expectation)
    }
    assert named == set(LIMITS) | set(BatchLimits.model_fields)


def test_every_column_in_a_suite_is_in_its_table() -> None:
    """Expectations on missing columns are skipped, so a misspelt name would never be checked."""
    tables = {**training(), **network()}
    for name, table in tables.items():
        if name != "training_cellxgene":
            for expectation in read_suite(name)["expectations"]:
                assert set(columns_of(expectation)) <= set(table.columns)


def test_valid_cells_and_a_valid_network_meet_every_expectation() -> None:
    report = run_suites({**training(), **network()}, LIMITS)
    assert report.failures == []
    assert report.to_json()["success"] is True
    assert report.met == len(report.records) == 45


def test_every_critical_expectation_has_a_test_that_fails_it() -> None:
    names = [name for name in suite_names() if not name.startswith("batch_")]
    critical = [
        (
            name,
            expectation["type"],
            " > ".join(columns_of(expectation))
            if "pair" in expectation["type"]
            else ", ".join(columns_of(expectation)),
        )
        for name in names
        for expectation in read_suite(name)["expectations"]
        if expectation["severity"] == "critical"
    ]
    assert sorted(critical) == sorted(BREAKS)


@pytest.mark.parametrize(("suite", "expectation", "column"), BREAKS)
def test_a_critical_failure_names_file_expectation_and_values(suite: str, expectation: str, column: str) -> None:
    tables, found = BREAKS[suite, expectation, column]
    report = run_suites(only(suite, tables()), LIMITS)
    assert report.to_json()["success"] is False
    failure = failure_of(report, expectation, column, "critical")
    where = f" on {column!r}" if column else ""
    sentence = failure.sentence("mine.h5ad")
    assert sentence.startswith(f"mine.h5ad: {expectation}{where} (suite {suite}) failed: ")
    assert found in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(("suite", "expectation", "column"), WARNS)
def test_a_warning_is_reported_and_is_not_a_failure(suite: str, expectation: str, column: str) -> None:
    tables, found = WARNS[suite, expectation, column]
    report = run_suites(only(suite, tables()), LIMITS)
    assert report.to_json()["success"] is True
    assert not report.critical
    assert found in failure_of(report, expectation, column, "warning").sentence("mine.h5ad")
    assert report.to_json()["warnings"] == len(report.warnings) >= 1


def test_fields_of_cellxgene_are_checked_if_they_exist() -> None:
    def wrong(obs: pd.DataFrame, counts_NG: NDArray) -> None:
        for field in CELLXGENE:
            obs[field] = pd.Categorical(["nonsense"] * len(obs))
        obs["donor_id"] = pd.Series([None] * len(obs), index=obs.index, dtype=object)
        obs["is_primary_data"] = False
        obs["organism"] = np.where(np.arange(len(obs)) % 2, "Homo sapiens", "Mus musculus")

    def right(obs: pd.DataFrame, counts_NG: NDArray) -> None:
        for field, value in CELLXGENE.items():
            obs[field] = pd.Categorical([value] * len(obs))
        obs["is_primary_data"] = True
        obs["organism"] = "Homo sapiens"

    assert run_suites(only("training_cellxgene", training(right)), LIMITS).failures == []
    report = run_suites(only("training_cellxgene", training(wrong)), LIMITS)
    assert {failure.column for failure in report.failures} == {*CELLXGENE, "donor_id", "is_primary_data", "organism"}
    assert [failure.column for failure in report.critical] == [OBS.ontology_term, "organism_ontology_term_id"]


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("cell_type_ontology_term_id", "unknown", True),
        ("cell_type_ontology_term_id", "CL:236", False),
        ("cell_type_ontology_term_id", "B cell", False),
        ("disease_ontology_term_id", "PATO:0000461", True),
        ("disease_ontology_term_id", "MONDO:0004604, MONDO:0043004", False),
        ("self_reported_ethnicity_ontology_term_id", "HANCESTRO:0005,HANCESTRO:0014", True),
        ("suspension_type", "nucleus", True),
        ("suspension_type", "nuclei", False),
        ("tissue_ontology_term_id", "CVCL_0030", True),
        ("tissue_type", "blood", False),
    ],
)
def test_a_field_of_cellxgene_accepts_the_values_of_its_schema(field: str, value: str, accepted: bool) -> None:
    table = pd.DataFrame({"cell": ["one", "two"], field: pd.Categorical([value, value])})
    assert (run_suites({"training_cellxgene": table}, LIMITS).failures == []) == accepted


def test_cells_without_fields_of_cellxgene_skip_that_suite() -> None:
    tables = training(lambda obs, counts_NG: obs.drop(columns=[OBS.donor, OBS.ontology_term], inplace=True))
    assert set(tables) == {"training_cells", "training_cell_types", "training_genes"}
    assert "donors" not in tables["training_cell_types"]


def test_repairs_of_a_network_are_warnings() -> None:
    edges = pd.DataFrame({"regulator": ["GENE0"], "target": ["GENE1"], "sign": [1], "confidence": [0.5]})
    tables = network_tables(edges, pd.Index(GENES), {**REPAIRS, "self_edges": 3, "sign_conflicts": 2})
    report = run_suites(only("network_repairs", tables), LIMITS)
    assert [failure.column for failure in report.warnings] == ["self_edges", "sign_conflicts"]
    assert "'90 lines', self_edges 3" in report.warnings[0].sentence("mine.tsv")
    assert not report.critical


@pytest.mark.parametrize("more", ["network", "cells"])
def test_a_small_set_of_genes_within_a_large_one_is_accepted(more: str) -> None:
    """Covers a small panel with a network of all genes, and all genes with a small network."""
    others = [f"OTHER{index}" for index in range(2_000)]
    edges = pd.DataFrame(EDGES, columns=["regulator", "target"]).assign(sign=1, confidence=1.0)
    wide = pd.DataFrame({"regulator": "GENE0", "target": others, "sign": 1, "confidence": 1.0})
    edges = pd.concat([edges, wide], ignore_index=True) if more == "network" else edges
    genes = pd.Index(GENES if more == "network" else [*GENES, *others])
    assert run_suites(only("network_genes", network_tables(edges, genes)), LIMITS).failures == []


def test_all_failing_rows_are_counted_and_a_few_are_named() -> None:
    tables = training(lambda obs, _: obs.__setitem__(OBS.library_size, 0.0))
    failure = failure_of(
        run_suites(only("training_cells", tables), LIMITS),
        "expect_column_values_to_be_between",
        "library_size",
        "critical",
    )
    assert failure.found.startswith("90 of 90: 'cell0', library_size 0; 'cell1'")
    assert failure.found.endswith("'cell4', library_size 0 and 85 more")


def test_an_expectation_that_cannot_be_checked_fails() -> None:
    table = pd.DataFrame({"edge": ["a -> b"], "confidence": ["high"]})
    report = run_suites({"network_edges": table}, LIMITS)
    assert "could not be checked (" in failure_of(
        report, "expect_column_values_to_be_between", "confidence", "critical"
    ).sentence("mine.tsv")


def test_results_are_reproducible() -> None:
    tables = {**training(in_obs(OBS.ontology_term, "CL:0000084")), **network(sign="up")}
    assert run_suites(tables, LIMITS) == run_suites(tables, LIMITS)
