"""Running expectation suites on tables: with Great Expectations where Data Docs are written, else with pandas."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from sctransformer.data.validation.page import write_summary
from sctransformer.data.validation.quick import UncertainError, check, in_order, with_limits
from sctransformer.data.validation.report import Outcome, Report, read_result, record_of
from sctransformer.data.validation.suites import applicable, read_suite
from sctransformer.files import atomic_write

Tables = Mapping[str, pd.DataFrame]
"""Name of a suite -> the table it checks; the first column of the table names its rows."""


def run_suites(
    tables: Tables,
    parameters: Mapping[str, Any],
    data_docs: Path | None = None,
    files: Mapping[str, str | Path] | None = None,
) -> Report:
    """Check each table against the suite of its name.

    Great Expectations does so if Data Docs are asked for; else `quick` does, with the same results.

    Args:
        tables: the tables, checked in this order.
        parameters: values of the limits of the suites.
        data_docs: folder for the HTML pages, replaced atomically; the first page is `index.html`. None writes none.
        files: name of a suite -> the file that was checked, for the pages and records.

    Returns:
        Records and failures, in the order of the tables.
    """
    files = files or {}
    if data_docs is None:
        try:
            return _check_quickly(tables, parameters, files)
        except UncertainError:
            pass
    return _check_with_great_expectations(tables, parameters, data_docs, files)


def _check_quickly(tables: Tables, parameters: Mapping[str, Any], files: Mapping[str, str | Path]) -> Report:
    report = Report([], [])
    for name, table in tables.items():
        for expectation in in_order(applicable(read_suite(name), set(table.columns))["expectations"]):
            limited = with_limits(expectation, parameters)
            _add(report, name, table, limited, check(limited, table), files)
    return report


def _add(
    report: Report,
    suite: str,
    table: pd.DataFrame,
    expectation: Mapping[str, Any],
    outcome: Outcome,
    files: Mapping[str, str | Path],
) -> None:
    record, failure = record_of(suite, table, expectation, outcome, files.get(suite))
    report.records.append(record)
    report.failures.extend([failure] if failure else [])


def _check_with_great_expectations(
    tables: Tables, parameters: Mapping[str, Any], data_docs: Path | None, files: Mapping[str, str | Path]
) -> Report:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when great_expectations is imported
    os.environ.setdefault("TQDM_DISABLE", "1")  # no progress bar per metric
    import great_expectations as gx  # seconds

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    with ExitStack() as stack:
        folder = None if data_docs is None else stack.enter_context(atomic_write(data_docs))
        if folder is not None:
            _to_folder(context, folder)
        source = context.data_sources.add_pandas("tables")
        report = Report([], [])
        for name, table in tables.items():
            content = applicable(read_suite(name), set(table.columns))
            suite = context.suites.add(gx.ExpectationSuite(**content))
            batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
            definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
            outcome = definition.run(
                batch_parameters={"dataframe": table},
                expectation_parameters=dict(parameters),
                # SUMMARY names the first 20 offending rows; COMPLETE lists them all and takes five times as long
                result_format={
                    "result_format": "SUMMARY",
                    "unexpected_index_column_names": [str(table.columns[0])],
                },
                run_id=gx.core.run_identifier.RunIdentifier(run_name=Path(files.get(name, "table")).name),
            )
            for result in outcome.results:
                _add(report, name, table, *read_result(result), files)
        if folder is not None:
            context.build_data_docs()
            write_summary(report, folder)
    return report


def _to_folder(context: Any, folder: Path) -> None:
    """Write Data Docs to this folder only."""
    for site in list(context.get_docs_sites_urls()):
        context.delete_data_docs_site(site["site_name"])
    context.add_data_docs_site(
        "local",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,  # no advertising footer
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
        },
    )
