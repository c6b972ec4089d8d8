"""`sctransformer prior ...`: build, fetch and shuffle prior networks, and measure their coverage of genes."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.cli.display import print_fields
from sctransformer.cli.options import option_for
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError
from sctransformer.progress import status_line

if TYPE_CHECKING:
    from sctransformer.prior.network import Network

_NETWORK_HELP = "A network, in any format that `prior build` reads."
_GENES_HELP = "Cells (h5ad, zarr) or a panel (Parquet)."
_OUTPUT_HELP = "File to write, a tab-separated table."
_SEED_HELP = "Random seed; the same seed gives the same result."
_FORCE_HELP = "Overwrite an existing file."


class MergeChoice(StrEnum):
    """Ways to merge networks."""

    union = "union"
    intersection = "intersection"
    vote = "vote"


class PublishedChoice(StrEnum):
    """Networks that can be downloaded."""

    collectri = "collectri"
    dorothea = "dorothea"


def build(
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=FILE[:LEVELS]", help="A network; repeatable.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    merge: Annotated[MergeChoice, typer.Option(help="Which edges to keep.")] = MergeChoice.union,
    min_votes: Annotated[
        int | None, typer.Option(min=1, help="With --merge vote: number of networks that must have an edge.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weight", metavar="NAME=W", help="Factor for the confidences of a network, up to 1."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="NAME=FORMAT",
            help="Format of an input, if it is not recognised; `NAME=help` lists all formats.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Convert and merge published networks into the project's own table, and report what was changed.

    Reads CollecTRI, DoRothEA, TRRUST, ChIP tables, files of pySCENIC and CellOracle, gene sets (GMT), and any table
    with a column for the regulator and one for the target. Names of regulons, such as SPI1(+) or SPI1_+_+, give the
    sign of their edges; a target of both SPI1(+) and SPI1(-) takes the sign with the greater summed confidence, or 0.

    Example: sctransformer prior build -i collectri=collectri.tsv.gz -i dorothea=dorothea.tsv.gz:A,B,C
    --merge union --weight dorothea=0.5 -o data/networks/mine.tsv
    """
    from sctransformer.cli.prior_inputs import (
        check_output,
        human_symbols,
        parse_inputs,
        parse_named,
        parse_weights,
        read_renamed,
    )
    from sctransformer.prior.letter_case import letter_case_warning
    from sctransformer.prior.merging import vote, votes_needed
    from sctransformer.prior.network import write_network
    from sctransformer.prior.readers import FORMATS

    if any(text.endswith("=help") for text in formats or []):
        print_fields(FORMATS.items())
        return
    found = parse_inputs(inputs)
    names = [each.name for each in found]
    format_of = parse_named(formats, "--format", names)
    weight_of = parse_weights(weights, names)
    needed = votes_needed(merge.value, len(found), min_votes)
    check_output(output, force)
    networks: dict[str, Network] = {}
    for name, path, levels in found:
        with status_line(f"Reading {path}"):
            networks[name] = read_renamed(path, name=name, file_format=format_of.get(name, "auto"), levels=levels)
        report_reading(name, networks[name])
        if warning := letter_case_warning(networks[name], human_symbols()):
            typer.echo(f"Warning: {path}: {warning}.", err=True)
    merged = vote(networks, needed, weight_of)
    if len(merged) == 0:
        raise UserError(f"no edge is in {needed} of {len(networks)} networks; {output} was not written.")
    write_network(merged, output)
    how = f" ({merge.value} of {len(networks)})" if len(networks) > 1 else ""
    typer.echo(f"{output}: {merged.size()}{how}. Use it with `-S prior.network={output}`.")
    if Path("dvc.yaml").is_file():
        typer.echo(f"commit:  git add {shlex.quote(str(output))} && git commit -m 'Network {output.stem}'")


def coverage(
    network: Annotated[Path, typer.Argument(help=_NETWORK_HELP)],
    genes: Annotated[Path, typer.Argument(metavar="CELLS|PANEL", help=_GENES_HELP)],
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    outdir: Annotated[
        Path | None, typer.Option("--outdir", "-o", help="Folder for tables and a plot.", show_default="none")
    ] = None,
) -> None:
    """Show how much of a network a set of genes can use.

    Example: sctransformer prior coverage data/networks/mine.tsv cells.h5ad -o coverage/
    """
    from sctransformer.cli.prior_inputs import read_genes, read_renamed
    from sctransformer.prior.coverage import coverage as coverage_of
    from sctransformer.prior.coverage import write_coverage

    names, summary = read_genes(genes, gene_column)
    if summary:
        typer.echo(f"{genes}: {summary}")
    with status_line(f"Reading {network}"):
        prior = read_renamed(network)
    report_reading(network.name, prior)
    metrics = coverage_of(prior, names)
    print_fields((name.replace("_", " "), number(value)) for name, value in metrics.items())
    if not metrics["edges_kept"]:
        typer.echo(f"No edge has both ends among the genes of {genes}; do both use the same gene names?", err=True)
    if outdir is not None:
        typer.echo(f"{outdir}: {', '.join(write_coverage(prior, names, outdir))}")


def fetch(
    name: Annotated[PublishedChoice, typer.Argument(metavar="collectri|dorothea", help="Name of the network.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    levels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Levels of DoRothEA, from A to D.", show_default="A,B,C")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Download a published network through decoupler, and add it to DVC inside a DVC repository.

    Mind the licence: CollecTRI and DoRothEA are free for academic use only.

    Example: sctransformer prior fetch dorothea --levels A,B,C -o data/networks/dorothea.tsv
    """
    from sctransformer.cli.prior_inputs import check_output, gene_aliases
    from sctransformer.data.versioned import add, in_repository
    from sctransformer.prior.fetch import fetch as download
    from sctransformer.prior.network import with_approved_symbols, write_network

    check_output(output, force)
    with status_line(f"Downloading {name.value}"):
        chosen = [level.strip() for level in levels.split(",")] if levels else ()
        network = with_approved_symbols(download(name.value, chosen), gene_aliases())
    report_reading(name.value, network)
    write_network(network, output)
    typer.echo(f"{output}: {network.size()}")
    if in_repository(output):
        try:
            add(output)
        except UserError as error:
            raise UserError(f"{output}: was written, but `dvc add` failed ({error}); add it yourself.") from error
        typer.echo(f"{output}.dvc: commit it; `dvc push` uploads the network.")


def shuffle(
    network: Annotated[Path, typer.Argument(help=_NETWORK_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    genes: Annotated[
        Path | None,
        typer.Option(
            "--genes",
            metavar="CELLS|PANEL",
            help=f"Keep edges among these genes. {_GENES_HELP}",
            show_default="all",
        ),
    ] = None,
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    seed: Annotated[int, typer.Option(min=0, help=_SEED_HELP)] = 0,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Write a control network: a random rewiring that keeps the number of targets and regulators of each gene.

    Example: sctransformer prior shuffle data/networks/mine.tsv --seed 1 -o data/networks/shuffled.tsv
    """
    from sctransformer.cli.prior_inputs import check_output, read_genes, read_renamed
    from sctransformer.prior.controls import shuffled
    from sctransformer.prior.network import write_network

    check_output(output, force)
    names = None
    if genes is not None:
        names, summary = read_genes(genes, gene_column)
        if summary:
            typer.echo(f"{genes}: {summary}")
    with status_line(f"Shuffling {network}"):
        prior = read_renamed(network)
        control = shuffled(prior, names, seed)
    report_reading(network.name, prior)
    write_network(control, output)
    typer.echo("\n".join([*control.repairs.notes, f"{output}: {control.size()}"]))


def holdout(
    network: Annotated[Path, typer.Argument(help=_NETWORK_HELP)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the edges to train with.")],
    held_out: Annotated[Path, typer.Option("--held-out", help="File for the held-out edges.")],
    share: Annotated[float, typer.Option(help="Fraction of the edges to hold out.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help=_SEED_HELP)] = 0,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Split a network into edges to train with and held-out edges, to test how well edges are recovered.

    Example: sctransformer prior holdout mine.tsv -o data/networks/part.tsv --held-out data/networks/rest.tsv
    """
    from sctransformer.cli.prior_inputs import check_output, read_renamed
    from sctransformer.prior.controls import held_out as split
    from sctransformer.prior.network import write_network

    if output.resolve() == held_out.resolve():
        raise UserError(f"{output}: is given for both parts; use two different files.")
    for file in (output, held_out):
        check_output(file, force)
    with status_line(f"Reading {network}"):
        prior = read_renamed(network)
    report_reading(network.name, prior)
    for file, part in zip((output, held_out), split(prior, share, seed), strict=True):
        write_network(part, file)
        typer.echo(f"{file}: {part.size()}")


def report_reading(name: str, network: "Network") -> None:
    """Print how a network was read and what was changed."""
    repairs = network.repairs
    typer.echo(f"{name}: read as {repairs.format}, {repairs.lines:,} lines; {network.size()}")
    for sentence in repairs.sentences():
        typer.echo(f"  {sentence}")


def number(value: float | int) -> str:
    """A value of a table in text."""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
