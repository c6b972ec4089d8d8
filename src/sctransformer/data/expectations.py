"""Great Expectations suites for cells and networks, and how they are run. Results and Data Docs are files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.params import ValidateParams

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when great_expectations is imported
import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

GENE_SYMBOL = r"^\S+$"
SHOWN = 5
"""Offending values named in a message."""

Suites = Mapping[str, tuple[pd.DataFrame, list[Expectation]]]
"""Suite name -> the table it checks, whose first column names its rows, and what is expected of it."""


@dataclass(frozen=True)
class Failure:
    """An expectation that was not met."""

    suite: str
    expectation: str
    column: str
    found: str

    def sentence(self, source: Path) -> str:
        """For a person: the expectation, the file and the offending values."""
        where = f" on {self.column!r}" if self.column else ""
        return f"{source}: {self.expectation}{where} (suite {self.suite}) failed: {self.found}."


def cell_suites(cells: AnnData, limits: ValidateParams) -> Suites:
    """What is expected of cells under the data contract, by cell, by class and by gene."""
    row_sums_N = np.asarray(cells.X.sum(axis=1)).ravel()
    lowest_N = np.asarray(cells.X.min(axis=1).todense()).ravel()
    by_cell = pd.DataFrame(
        {
            "cell": cells.obs_names.astype(str),
            OBS.cell_type: cells.obs[OBS.cell_type].astype(object).where(cells.obs[OBS.cell_type].notna(), None),
            OBS.library_size: cells.obs[OBS.library_size].to_numpy(),
            "counts_in_genes": row_sums_N.astype(np.float64),
            "genes_detected": np.diff(cells.X.indptr),
            "lowest_count": lowest_N,
        }
    )
    by_class = cells.obs[OBS.cell_type].value_counts().rename_axis(OBS.cell_type).rename("cells").reset_index()
    by_class[OBS.cell_type] = by_class[OBS.cell_type].astype(str)
    by_gene = pd.DataFrame({"gene": cells.var_names.astype(str)})
    return {
        "cells": (
            by_cell,
            [
                gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_cells),
                gxe.ExpectColumnValuesToBeUnique(column="cell"),
                gxe.ExpectColumnValuesToNotBeNull(column=OBS.cell_type, mostly=1.0 - limits.max_unlabelled_fraction),
                gxe.ExpectColumnValuesToBeBetween(column="lowest_count", min_value=0),
                gxe.ExpectColumnValuesToBeBetween(column=OBS.library_size, min_value=1),
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                    column_A=OBS.library_size, column_B="counts_in_genes", or_equal=True
                ),
                gxe.ExpectColumnValuesToBeBetween(column="genes_detected", min_value=limits.min_genes_per_cell),
            ],
        ),
        "cell_types": (
            by_class,
            [
                gxe.ExpectTableRowCountToBeBetween(min_value=2),
                gxe.ExpectColumnValuesToBeBetween(column="cells", min_value=limits.min_cells_per_class),
            ],
        ),
        "genes": (
            by_gene,
            [
                gxe.ExpectColumnValuesToBeUnique(column="gene"),
                gxe.ExpectColumnValuesToMatchRegex(column="gene", regex=GENE_SYMBOL),
            ],
        ),
    }


def network_suites(edges: pd.DataFrame, genes: pd.Index, limits: ValidateParams) -> Suites:
    """What is expected of a network (columns regulator, target, sign, confidence), and of it with these genes."""
    by_edge = edges.copy()
    by_edge.insert(0, "edge", edges["regulator"] + " -> " + edges["target"])
    inside = by_edge[by_edge["regulator"].isin(genes) & by_edge["target"].isin(genes)]
    return {
        "network": (
            by_edge,
            [
                gxe.ExpectColumnValuesToMatchRegex(column="regulator", regex=GENE_SYMBOL),
                gxe.ExpectColumnValuesToMatchRegex(column="target", regex=GENE_SYMBOL),
                gxe.ExpectColumnValuesToBeUnique(column="edge"),
                gxe.ExpectColumnValuesToBeInSet(column="sign", value_set=[-1, 1]),
                gxe.ExpectColumnValuesToBeBetween(column="confidence", min_value=0, max_value=1, strict_min=True),
                gxe.ExpectSelectColumnValuesToBeUniqueWithinRecord(column_list=["regulator", "target"]),
            ],
        ),
        "network_among_cells": (
            inside,
            [gxe.ExpectTableRowCountToBeBetween(min_value=limits.min_edges_in_cells)],
        ),
    }


def validate(suites: Suites, data_docs: Path) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Run suites and write Data Docs.

    Args:
        suites: tables and expectations.
        data_docs: folder for the HTML pages; the first page is `index.html`.

    Returns:
        One record an expectation (suite, expectation, column, success, observed), the same for the same input; and
        the failures.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # one bar a metric says nothing
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    for site in list(context.get_docs_sites_urls()):
        context.delete_data_docs_site(site["site_name"])
    context.add_data_docs_site(
        "local",
        {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(data_docs.resolve()),
            },
        },
    )
    source = context.data_sources.add_pandas("tables")
    records: list[dict[str, Any]] = []
    failures: list[Failure] = []
    definitions = []
    tables = {}
    for name, (table, expectations) in suites.items():
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
        definitions.append(
            context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        )
        tables[name] = table
    for definition in definitions:
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=definition.name,
                validation_definitions=[definition],
                actions=[],
                result_format={
                    "result_format": "COMPLETE",
                    "unexpected_index_column_names": [str(tables[definition.name].columns[0])],
                },
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": tables[definition.name]})
        for run in outcome.run_results.values():
            for result in run.results:
                record, failure = _read_result(definition.name, tables[definition.name], result)
                records.append(record)
                failures += [failure] if failure else []
    context.build_data_docs()
    return records, failures


def _read_result(suite: str, table: pd.DataFrame, result: Any) -> tuple[dict[str, Any], Failure | None]:
    config = result.expectation_config
    kwargs = config.kwargs
    column = kwargs.get("column") or " > ".join(filter(None, (kwargs.get("column_A"), kwargs.get("column_B"))))
    column = column or ", ".join(kwargs.get("column_list", []))
    detail = result.result or {}
    record = {
        "suite": suite,
        "expectation": config.type,
        "column": column,
        "success": bool(result.success),
        "observed": detail.get("observed_value"),
        "unexpected": detail.get("unexpected_count"),
    }
    if result.success:
        return record, None
    return record, Failure(suite, config.type, column, _offenders(table, detail, kwargs))


def _offenders(table: pd.DataFrame, detail: Mapping[str, Any], kwargs: Mapping[str, Any]) -> str:
    """The offending values, each with the row it stands in; or the observed value where there are no rows."""
    rows = detail.get("unexpected_index_list") or []
    if not rows:
        bounds = ", ".join(f"{key} {kwargs[key]}" for key in ("min_value", "max_value") if kwargs.get(key) is not None)
        return f"found {detail.get('observed_value')}, expected {bounds or 'otherwise'}"
    key = table.columns[0]
    named = "; ".join(
        f"{row[key]!r}" + "".join(f", {column} {_plain(value)!r}" for column, value in row.items() if column != key)
        for row in rows[:SHOWN]
    )
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"{len(rows)} of {len(table)}: {named}{more}"


def _plain(value: Any) -> Any:
    """A numpy scalar as a Python one."""
    return value.item() if isinstance(value, np.generic) else value
