"""`sctransformer data simulate`: simulated cells with a known regulatory network."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sctransformer.errors import UserError

_GENES_PER_REGULATOR = 10
_INVENTED_NAMES = " -S data.gene_column=var_names -S validate.min_symbol_share=0"
"""Overrides that accept genes that are not human."""


class Compression(StrEnum):
    """Compression of X."""

    NONE = "none"
    LZF = "lzf"
    GZIP = "gzip"


def simulate(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The h5ad file to write; the true network is written beside it.")
    ],
    cells: Annotated[int, typer.Option(help="Number of cells.")] = 5000,
    genes: Annotated[
        int | None,
        typer.Option(help="Number of genes, regulators included.", show_default="1000, or the number of symbols"),
    ] = None,
    regulators: Annotated[
        int | None,
        typer.Option(help="Number of genes that regulate others.", show_default="a tenth of the genes"),
    ] = None,
    types: Annotated[int, typer.Option(help="Number of cell types.")] = 8,
    donors: Annotated[int, typer.Option(help="Number of donors.")] = 4,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed and settings give the same cells.")] = 0,
    gene_symbols: Annotated[
        Path | None,
        typer.Option(help="A text file with one gene symbol per line, regulators first.", show_default="REG0001, ..."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-S",
            metavar="NAME=VALUE",
            help="Another setting, for example dropout=0.05, dispersion=0 or program_strength=0.8 (types are harder "
            "to separate); repeatable. uns['simulation'] of the file lists all settings.",
        ),
    ] = None,
    compression: Annotated[
        Compression,
        typer.Option(
            help="Compression of X: lzf needs less than half of the space, gzip a quarter but much more time."
        ),
    ] = Compression.NONE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Simulate cells from a random regulatory network.

    Writes OUT (raw counts; obs library_size, cell_type, donor_id) and <stem>.edges.tsv, the true network, a table for
    prior.network. Memory use does not depend on the number of cells.
    """
    import time

    from sctransformer.data.simulated_file import edges_path, require_space, write_simulation
    from sctransformer.data.simulated_network import SimulationConfig
    from sctransformer.data.simulator import Simulation
    from sctransformer.progress import cells_bar

    if out.suffix != ".h5ad":
        raise UserError(f"{out}: expected a file name that ends in .h5ad.")
    symbols = _read_symbols(gene_symbols) if gene_symbols else None
    n_genes = genes if genes is not None else len(symbols) if symbols else 1000
    config = SimulationConfig(
        cells=cells,
        genes=n_genes,
        regulators=regulators if regulators is not None else max(1, n_genes // _GENES_PER_REGULATOR),
        types=types,
        donors=donors,
        seed=seed,
        gene_symbols=symbols,
        **_settings(settings or []),
    )
    present = [str(path) for path in (out, edges_path(out)) if path.exists()]
    if present and not force:
        raise UserError(f"{' and '.join(present)}: already exists; choose another name, or overwrite it with --force.")
    simulation = Simulation(config)
    require_space(simulation, out.parent)
    started = time.perf_counter()
    with cells_bar("Simulating") as on_progress:
        written = write_simulation(
            simulation, out, on_progress, None if compression is Compression.NONE else compression.value
        )
    seconds = time.perf_counter() - started
    zeros, megabytes = 1 - written.n_counts / (cells * n_genes), out.stat().st_size / 1e6
    for line in (
        f"cells    {cells:,} of {types} types and {donors} donors x {n_genes:,} genes, {zeros:.1%} zeros",
        f"network  {written.n_edges:,} true edges of {config.regulators:,} regulators",
        f"written  {written.cells} ({megabytes:,.1f} MB in {seconds:.1f} s, {cells / seconds:,.0f} cells/s)",
        f"         {written.edges}",
        "",
        "Next:",
        f"  sctransformer data check {written.cells}" + ("" if symbols else " --gene-column var_names"),
        f"  sctransformer train -S data.cells={written.cells} -S prior.network={written.edges}"
        + ("" if symbols else _INVENTED_NAMES),
    ):
        typer.echo(line)


def _settings(words: list[str]) -> dict[str, Any]:
    """Parse settings without an option of their own, as numbers.

    Raises:
        UserError: a setting is unknown or not a number.
    """
    from dataclasses import fields

    from sctransformer.data.simulated_network import SimulationConfig

    own = {"cells", "genes", "regulators", "types", "donors", "seed", "gene_symbols"}
    defaults = SimulationConfig()
    kinds = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults) if field.name not in own}
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in kinds:
            hint = f"use --{name.replace('_', '-')}" if name in own else f"expected one of {', '.join(kinds)}"
            raise UserError(f"--set {word}: {name!r} is not a setting for --set; {hint}.")
        try:
            found[name] = kinds[name](value)
        except ValueError as error:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise UserError(f"--set {word}: {value!r} is not {kind}; write {name}=NUMBER.") from error
    return found


def _read_symbols(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; --gene-symbols takes a text file with one symbol per line.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); expected one gene symbol per line.") from error
