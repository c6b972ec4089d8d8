"""`sctransformer data check`: whether a file would pass, before anything long is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.errors import UserError

if TYPE_CHECKING:
    from sctransformer.data.check import CellCheck
    from sctransformer.data.validation.report import Report
    from sctransformer.export.bundle import Bundle


def check(
    file: Annotated[Path, typer.Argument(help="An h5ad file or a zarr folder with raw counts.", show_default=False)],
    label_column: Annotated[
        str | None, typer.Option(help="Column of obs with the cell type.", show_default="cell_type if there")
    ] = None,
    donor_column: Annotated[
        str | None, typer.Option(help="Column of obs with the donor or batch.", show_default="donor_id if there")
    ] = None,
    gene_column: Annotated[
        str | None, typer.Option(help="Column of var with gene ids, or var_names.", show_default="recognised")
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="Where raw counts stand: X, raw.X or a layer's name.", show_default="found")
    ] = None,
    library_size_column: Annotated[
        str | None,
        typer.Option(
            help="Column of obs with the counts of the whole cell.",
            show_default="library_size if there, else their sum",
        ),
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="A prior network: say whether cells and network fit together.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Check as cells to annotate with this model, see `annotate`."),
    ] = None,
    data_docs: Annotated[Path | None, typer.Option(help="Folder for the result as HTML pages.")] = None,
) -> None:
    """Read a whole file, say what is in it, and run the same expectations as the pipeline.

    Labelled cells are checked as a training dataset, cells for a model as a batch to annotate. A critical expectation
    that fails is an error; a warning is shown.

    Example: sctransformer data check cells.h5ad --label-column celltype --network data/networks/collectri.tsv
    """
    look(file, label_column, donor_column, gene_column, counts, library_size_column, network, model, data_docs)


def look(
    file: Path,
    label_column: str | None = None,
    donor_column: str | None = None,
    gene_column: str | None = None,
    counts: str | None = None,
    library_size_column: str | None = None,
    network: Path | None = None,
    model: str | None = None,
    data_docs: Path | None = None,
) -> None:
    """What `check` does, for other verbs.

    Raises:
        UserError: the file cannot be used, or a critical expectation failed.
    """
    from sctransformer._constants import OBS
    from sctransformer.data.check import inspect_cells
    from sctransformer.data.genes import read_gene_map
    from sctransformer.data.settings import CellColumns
    from sctransformer.progress import cells_bar

    _require_columns(file, counts, label_column, donor_column, library_size_column, gene_column)
    bundle = None if model is None else _bundle(model)
    if bundle is not None and counts is None:
        counts = _read_by(bundle, file)
    columns = CellColumns(
        counts=counts,
        gene_column=gene_column,
        label_column=label_column or OBS.cell_type,
        donor_column=donor_column,
        library_size_column=library_size_column,
    )
    with cells_bar("Checking") as on_progress:
        found = inspect_cells(file, read_gene_map(), columns, on_progress)
    lines = list(_described(found))
    width = max(len(name) for name, _ in lines)
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in lines))
    if bundle is not None:
        _judge(_as_batch(found, bundle, data_docs), file, width, data_docs)
    elif OBS.cell_type in found.obs:
        _judge(_as_training(found, network, data_docs), file, width, data_docs, network)
    else:
        typer.echo("no labels: not checked for training; name them by --label-column, or a model by --model")


def _require_columns(
    file: Path,
    counts: str | None,
    label_column: str | None,
    donor_column: str | None,
    library_size_column: str | None,
    gene_column: str | None,
) -> None:
    """That the columns and counts named by options are there; said by their options, before the counts are read."""
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
                there = ", ".join(map(str, columns)) or "none"
                raise UserError(f"{file}: {table} has no column {column!r} (columns: {there}); correct {option}.")


def _described(found: CellCheck) -> Iterator[tuple[str, str]]:
    import numpy as np

    from sctransformer._constants import OBS

    statistics, obs = found.statistics, found.obs
    n_genes = len(found.identity.genes)
    detected = int(statistics.genes_detected_N.sum())
    empty = int((statistics.genes_detected_N == 0).sum())
    low, middle, high = np.percentile(obs[OBS.library_size], (0, 50, 100))
    yield "cells", f"{statistics.n_cells:,}"
    yield "genes", found.identity.summary()
    zeros = 1 - detected / (statistics.n_cells * n_genes)
    yield "counts", f"raw, in {found.counts_in}; {zeros:.1%} zeros; {empty:,} cells without any"
    yield "library size", f"{found.library_size_source}; median {middle:,.0f}, from {low:,.0f} to {high:,.0f}"
    if OBS.donor in obs:
        yield "donors", f"{obs[OBS.donor].nunique():,}"
    if OBS.cell_type not in obs:
        yield "labels", "none"
        return
    labels = obs[OBS.cell_type]
    yield "labels", f"{labels.nunique()} types; {int(labels.isna().sum()):,} cells without"
    for name, number in labels.value_counts().items():
        yield f"  {name}", f"{number:,}"


def _as_training(found: CellCheck, network: Path | None, data_docs: Path | None) -> Report:
    from sctransformer.data.check import run_training_suites
    from sctransformer.params import Params, load_params
    from sctransformer.prior.network import read_network_table

    params = load_params() if Path("params.yaml").is_file() else Params()
    if network is None:
        return run_training_suites(found, params.validation, data_docs=data_docs)
    edges = read_network_table(network, params.prior.confidence)
    return run_training_suites(found, params.validation, edges.edges, edges.repairs.counts(), data_docs, network)


def _bundle(model: str) -> Bundle:
    from sctransformer.registry.opening import open_model

    return open_model(model).bundle


def _read_by(bundle: Bundle, file: Path) -> str:
    """Where `annotate` would read the counts."""
    from sctransformer.annotation.reading import open_cells

    with open_cells(file, bundle.vocabulary) as cells:
        return cells.counts_in


def _as_batch(found: CellCheck, bundle: Bundle, data_docs: Path | None) -> Report:
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
