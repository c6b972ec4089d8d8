"""`sctransformer data check`: inspect a file of cells and run the expectations of the pipeline on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.cli.display import print_fields
from sctransformer.cli.options import option_for
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError

if TYPE_CHECKING:
    from sctransformer.data.check import InspectedCells
    from sctransformer.data.validation.report import Report
    from sctransformer.export.bundle import Bundle
    from sctransformer.params import Params


def check(
    file: Annotated[Path, typer.Argument(help="An h5ad file or a zarr folder with raw counts.", show_default=False)],
    label_column: Annotated[
        str | None, option_for(CellColumns, "label_column", show_default="cell_type, if present")
    ] = None,
    donor_column: Annotated[str | None, option_for(CellColumns, "donor_column")] = None,
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    counts: Annotated[str | None, option_for(CellColumns, "counts")] = None,
    library_size_column: Annotated[str | None, option_for(CellColumns, "library_size_column")] = None,
    network: Annotated[Path | None, typer.Option(help="A prior network to check together with the cells.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Check as cells to annotate with this model, as given to `annotate`."),
    ] = None,
    data_docs: Annotated[Path | None, typer.Option(help="Folder for the results as HTML pages.")] = None,
) -> None:
    """Read a file of cells, summarise it, and run the same expectations as the pipeline.

    Labelled cells are checked as training data; with --model, cells are checked as a batch to annotate. A failed
    critical expectation is an error; other failed expectations are warnings.

    Example: sctransformer data check cells.h5ad --label-column celltype --network data/networks/collectri.tsv
    """
    check_cells(file, label_column, donor_column, gene_column, counts, library_size_column, network, model, data_docs)


def check_cells(
    file: Path,
    label_column: str | None = None,
    donor_column: str | None = None,
    gene_column: str | None = None,
    counts: str | None = None,
    library_size_column: str | None = None,
    network: Path | None = None,
    model: str | None = None,
    data_docs: Path | None = None,
    *,
    ontology_column: str | None = None,
    ontology_ids: dict[str, str] | None = None,
) -> None:
    """Check cells and print the results; for arguments see `check`.

    Raises:
        UserError: the file cannot be used, or a critical expectation failed.
    """
    from sctransformer._constants import OBS
    from sctransformer.data.check import inspect_cells
    from sctransformer.data.gene_map import read_gene_map
    from sctransformer.progress import cells_bar

    _require_columns(file, counts, label_column, donor_column, library_size_column, gene_column)
    bundle = None if model is None else _bundle(model)
    if bundle is not None and counts is None:
        counts = _counts_place(bundle, file)
    columns = CellColumns(
        counts=counts,
        gene_column=gene_column,
        label_column=label_column or OBS.cell_type,
        donor_column=donor_column,
        library_size_column=library_size_column,
        ontology_column=ontology_column,
        ontology_ids=ontology_ids,
    )
    with cells_bar("Checking") as on_progress:
        found = inspect_cells(file, read_gene_map(), columns, on_progress)
    width = print_fields(found.summary())
    if bundle is not None:
        _judge(_as_batch(found, bundle, data_docs), file, width, data_docs)
    elif OBS.cell_type in found.obs:
        _warn_of_labels_and_donors(found, file)
        _judge(_as_training(found, network, data_docs), file, width, data_docs, network)
    else:
        typer.echo("no labels: not checked as training data; give the column with --label-column, or a --model")


def _require_columns(
    file: Path,
    counts: str | None,
    label_column: str | None,
    donor_column: str | None,
    library_size_column: str | None,
    gene_column: str | None,
) -> None:
    """Check that the columns given as options exist, before the counts are read; errors name the option."""
    from sctransformer.data.cells import CellFile
    from sctransformer.data.genes import VAR_NAMES

    with CellFile(file, counts) as cells:
        for table, columns, column, option in (
            ("obs", cells.obs.columns, label_column, "--label-column"),
            ("obs", cells.obs.columns, donor_column, "--donor-column"),
            ("obs", cells.obs.columns, library_size_column, "--library-size-column"),
            ("var", cells.var.columns, None if gene_column == VAR_NAMES else gene_column, "--gene-column"),
        ):
            if column is not None and column not in columns:
                present = ", ".join(map(str, columns)) or "none"
                raise UserError(f"{file}: {table} has no column {column!r} (columns: {present}); correct {option}.")


def _as_training(found: InspectedCells, network: Path | None, data_docs: Path | None) -> Report:
    from sctransformer.data.check import run_training_suites
    from sctransformer.prior.network import read_network_table

    params = _params()
    if network is None:
        return run_training_suites(found, params.validation, data_docs=data_docs)
    edges = read_network_table(network, params.prior.confidence)
    return run_training_suites(found, params.validation, edges.edges, edges.repairs.counts(), data_docs, network)


def _warn_of_labels_and_donors(found: InspectedCells, file: Path) -> None:
    """Warn of what training would refuse, or would learn but nobody means."""
    from sctransformer._constants import OBS
    from sctransformer.data.label_names import label_warnings
    from sctransformer.data.split_choice import split_problem

    params = _params()
    for sentence in label_warnings(found.obs[OBS.cell_type].dropna().astype(str).unique()):
        typer.echo(f"Warning: {file}: {sentence}.", err=True)
    if problem := split_problem(found.obs, params.prepare, params.seed):
        typer.echo(f"Warning: {file}: cannot be split for training: {problem}", err=True)


def _params() -> Params:
    from sctransformer.params import PARAMS, Params, load_params

    return load_params() if PARAMS.is_file() else Params()


def _bundle(model: str) -> Bundle:
    from sctransformer.registry.opening import open_model

    return open_model(model).bundle


def _counts_place(bundle: Bundle, file: Path) -> str:
    """Place that `annotate` reads the counts from."""
    from sctransformer.annotation.reading import open_cells

    with open_cells(file, bundle.vocabulary) as cells:
        return cells.counts_in


def _as_batch(found: InspectedCells, bundle: Bundle, data_docs: Path | None) -> Report:
    from sctransformer._constants import OBS
    from sctransformer.data.validation.batch import check_batch

    vocabulary = bundle.vocabulary
    return check_batch(
        str(found.path),
        found.obs.index,
        found.identity.genes,
        found.statistics,
        vocabulary["gene"].tolist(),
        vocabulary["mean"].to_numpy(),
        found.obs[OBS.library_size].to_numpy(),
        data_docs=data_docs,
    )


def _judge(report: Report, file: Path, width: int, data_docs: Path | None, network: Path | None = None) -> None:
    def named(suite: str) -> Path:
        return network if network is not None and suite.startswith("network") else file

    pages = f"; see {data_docs / 'index.html'}" if data_docs is not None else ""
    typer.echo(f"{'expectations':<{width}}  {report.met} met, {len(report.warnings)} warnings{pages}")
    for warning in report.warnings:
        typer.echo(f"Warning: {warning.sentence(named(warning.suite))}", err=True)
    if report.critical:
        raise UserError(" ".join(failure.sentence(named(failure.suite)) for failure in report.critical))
