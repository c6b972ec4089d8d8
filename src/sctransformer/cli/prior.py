"""`sctransformer prior ...`: networks from published files, and what they are worth on your genes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sctransformer.errors import UserError

if TYPE_CHECKING:
    from sctransformer.prior.network import Network

_INPUT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<path>.+?)(?::(?P<levels>[A-Z](?:,[A-Z])*))?", re.DOTALL)
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<value>.+)")
_OUTPUT_HELP = "The network to write: a tab-separated table."
_FORCE_HELP = "Write over a file that is there."


class MergeChoice(StrEnum):
    """Ways to merge."""

    union = "union"
    intersection = "intersection"
    vote = "vote"


class PublishedChoice(StrEnum):
    """Networks that can be fetched."""

    collectri = "collectri"
    dorothea = "dorothea"


class _Input(NamedTuple):
    name: str
    path: Path
    levels: list[str]


def build(
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", metavar="NAME=FILE[:LEVELS]", help="A network; may be repeated.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    merge: Annotated[MergeChoice, typer.Option(help="Which edges to keep.")] = MergeChoice.union,
    min_votes: Annotated[int | None, typer.Option(min=1, help="With --merge vote: in how many networks.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weight", metavar="NAME=W", help="Multiplies its confidences; up to 1.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="NAME=FORMAT", help="If the columns do not tell; `NAME=help` lists formats."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Make the project's own table of one or several networks, and say what had to be put right.

    Reads CollecTRI, DoRothEA, TRRUST, ChIP tables, pySCENIC's and CellOracle's files, gene sets (GMT), and any table
    with a column for the regulator and one for the target.

    Example: sctransformer prior build -i collectri=collectri.tsv.gz -i dorothea=dorothea.tsv.gz:A,B,C
    --merge union --weight dorothea=0.5 -o data/networks/mine.tsv
    """
    from sctransformer.prior.merging import vote, votes_needed
    from sctransformer.prior.network import Network, write_network
    from sctransformer.prior.readers import FORMATS

    named_formats = _named(formats, "--format")
    if "help" in named_formats.values():
        typer.echo("\n".join(f"{name:<12} {what}" for name, what in FORMATS.items()))
        return
    found = _inputs(inputs)
    _check_names(named_formats, found, "--format")
    shares = _weights(weights, found)
    needed = votes_needed(merge.value, len(found), min_votes)
    _check_output(output, force)
    networks: dict[str, Network] = {}
    for name, path, levels in found:
        with _busy(f"Reading {path}"):
            networks[name] = _read(path, name=name, file_format=named_formats.get(name, "auto"), levels=levels)
        _say(name, networks[name])
    merged = vote(networks, needed, shares)
    if len(merged) == 0:
        raise UserError(f"no edge stands in {needed} of {len(networks)} networks; nothing was written to {output}.")
    write_network(merged, output)
    how = f" ({merge.value} of {len(networks)})" if len(networks) > 1 else ""
    typer.echo(f"{output}: {_size(merged)}{how}. Use it with `-S prior.network={output}`.")


def coverage(
    network: Annotated[Path, typer.Argument(help="A network, in any format that `prior build` reads.")],
    genes: Annotated[Path, typer.Argument(metavar="CELLS|PANEL", help="Cells (h5ad, zarr), or a panel (parquet).")],
    gene_column: Annotated[
        str | None, typer.Option(help="Column of var with gene ids, or var_names.", show_default="recognised")
    ] = None,
    outdir: Annotated[
        Path | None, typer.Option("--outdir", "-o", help="Folder for the tables and the picture.", show_default="none")
    ] = None,
) -> None:
    """Show how much of a network your genes can use.

    Example: sctransformer prior coverage data/networks/mine.tsv cells.h5ad -o coverage/
    """
    import pandas as pd

    from sctransformer.files import atomic_write
    from sctransformer.prior.coverage import coverage as figures_of
    from sctransformer.prior.coverage import degree_distribution, degrees

    names = _genes_of(genes, gene_column)
    with _busy(f"Reading {network}"):
        prior = _read(network)
    _say(network.name, prior)
    figures = figures_of(prior, names)
    _table([(name.replace("_", " "), _shown(value)) for name, value in figures.items()])
    if not figures["edges_kept"]:
        typer.echo(
            f"No edge has both ends among the genes of {genes}: do both use the same kind of gene name?", err=True
        )
    if outdir is None:
        return
    from sctransformer.prior.plots import plot_coverage

    targets, distribution = degrees(prior, names), degree_distribution(prior, names)
    tables = {
        "coverage.tsv": pd.DataFrame({"figure": list(figures), "value": list(figures.values())}, dtype=object),
        "regulators.tsv": targets,
        "degrees.tsv": distribution,
    }
    for file, content in tables.items():
        with atomic_write(outdir / file) as temporary:
            content.to_csv(temporary, sep="\t", index=False)
    plot_coverage(figures, distribution, targets, outdir / "coverage.png")
    typer.echo(f"{outdir}: {', '.join(tables)}, coverage.png")


def compare(
    first: Annotated[Path, typer.Argument(help="A network, in any format that `prior build` reads.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Show what two networks share, and whether they agree on signs.

    Example: sctransformer prior compare data/networks/mine.tsv collectri.tsv.gz
    """
    from sctransformer.prior.comparison import compare as figures_of

    networks = []
    for path in (first, second):
        with _busy(f"Reading {path}"):
            networks.append(_read(path))
        _say(str(path), networks[-1])
    figures = figures_of(*networks)
    if not figures["signed_edges_shared"]:
        figures.pop("sign_agreement")
    _table([(name.replace("_", " "), _shown(value)) for name, value in figures.items()])


def fetch(
    name: Annotated[PublishedChoice, typer.Argument(metavar="collectri|dorothea", help="The network.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    levels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Levels of DoRothEA, from A to D.", show_default="A,B,C")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Fetch a published network through decoupler, and put it under DVC where there is a DVC repository.

    Mind its licence: CollecTRI and DoRothEA are free for academic use, not for every other one.

    Example: sctransformer prior fetch dorothea --levels A,B,C -o data/networks/dorothea.tsv
    """
    from sctransformer.prior.fetch import fetch as fetched
    from sctransformer.prior.network import with_approved_symbols, write_network

    _check_output(output, force)
    with _busy(f"Fetching {name.value}"):
        chosen = [level.strip() for level in levels.split(",")] if levels else ()
        network = with_approved_symbols(fetched(name.value, chosen), _present_symbols())
    _say(name.value, network)
    write_network(network, output)
    typer.echo(f"{output}: {_size(network)}")
    if _inside_dvc(output):
        _dvc_add(output)
        typer.echo(f"{output}.dvc: commit it; `dvc push` shares the network.")


def shuffle(
    network: Annotated[Path, typer.Argument(help="A network, in any format that `prior build` reads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=_OUTPUT_HELP)],
    genes: Annotated[
        Path | None,
        typer.Option("--genes", metavar="CELLS|PANEL", help="Keep edges among these genes.", show_default="all"),
    ] = None,
    gene_column: Annotated[
        str | None, typer.Option(help="Column of var with gene ids, or var_names.", show_default="recognised")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same network.")] = 0,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Write the control network: every gene keeps its numbers of targets and regulators, and loses its partners.

    Example: sctransformer prior shuffle data/networks/mine.tsv --seed 1 -o data/networks/shuffled.tsv
    """
    from sctransformer.prior.controls import shuffled
    from sctransformer.prior.network import write_network

    _check_output(output, force)
    names = None if genes is None else _genes_of(genes, gene_column)
    with _busy(f"Shuffling {network}"):
        prior = _read(network)
        control = shuffled(prior, names, seed)
    _say(network.name, prior)
    write_network(control, output)
    typer.echo("\n".join([*control.repairs.notes, f"{output}: {_size(control)}"]))


def holdout(
    network: Annotated[Path, typer.Argument(help="A network, in any format that `prior build` reads.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The edges to build on.")],
    held_out: Annotated[Path, typer.Option("--held-out", help="The edges to recover.")],
    share: Annotated[float, typer.Option(help="Share of the edges that is held out.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 0,
    force: Annotated[bool, typer.Option("--force", help=_FORCE_HELP)] = False,
) -> None:
    """Split a network into edges to train with and edges to find again, for tests of recovery.

    Example: sctransformer prior holdout mine.tsv -o data/networks/part.tsv --held-out data/networks/rest.tsv
    """
    from sctransformer.prior.controls import held_out as split
    from sctransformer.prior.network import write_network

    if output.resolve() == held_out.resolve():
        raise UserError(f"{output}: is named for both parts; give each a file of its own.")
    for file in (output, held_out):
        _check_output(file, force)
    with _busy(f"Reading {network}"):
        prior = _read(network)
    _say(network.name, prior)
    for file, part in zip((output, held_out), split(prior, share, seed), strict=True):
        write_network(part, file)
        typer.echo(f"{file}: {_size(part)}")


def _inputs(texts: Sequence[str]) -> list[_Input]:
    found: list[_Input] = []
    for text in texts:
        match = _INPUT.fullmatch(text)
        if match is None:
            raise UserError(f"-i {text}: expected NAME=FILE or NAME=FILE:LEVELS, as in -i dorothea=dorothea.tsv:A,B,C.")
        name, path, levels = match["name"], match["path"], match["levels"]
        if any(name == other.name for other in found):
            raise UserError(f"-i {text}: the name {name!r} stands twice; give each network a name of its own.")
        found.append(_Input(name, Path(path), levels.split(",") if levels else []))
    return found


def _named(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in texts or []:
        match = _NAMED.fullmatch(text)
        if match is None:
            raise UserError(f"{option} {text}: expected NAME=VALUE, with the name of an input.")
        found[match["name"]] = match["value"]
    return found


def _weights(texts: Sequence[str] | None, inputs: Sequence[_Input]) -> dict[str, float]:
    named = _named(texts, "--weight")
    _check_names(named, inputs, "--weight")
    weights = {}
    for name, value in named.items():
        try:
            weights[name] = float(value)
        except ValueError as error:
            raise UserError(f"--weight {name}={value}: expected a number above 0 and up to 1.") from error
        if not 0 < weights[name] <= 1:
            raise UserError(f"--weight {name}={value}: expected a number above 0 and up to 1.")
    return weights


def _check_names(named: dict[str, str], inputs: Sequence[_Input], option: str) -> None:
    names = [each.name for each in inputs]
    for name in named:
        if name not in names:
            raise UserError(
                f"{option} {name}={named[name]}: there is no input {name!r}; inputs are {', '.join(names)}."
            )


def _check_output(output: Path, force: bool) -> None:
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name a file, as in {output / 'network.tsv'}.")
    if output.suffix.lower() not in (".tsv", ".txt"):
        raise UserError(f"{output}: a network is written as tab-separated text; let its name end in .tsv.")
    if output.exists() and not force:
        raise UserError(f"{output}: is there already; choose another name, or --force to write over it.")


def _genes_of(path: Path, gene_column: str | None) -> list[str]:
    """Gene symbols of cells (h5ad, zarr) or of a panel or vocabulary (Parquet with a column gene)."""
    from sctransformer.prior.tables import is_parquet, parquet_table

    if is_parquet(path):
        table = parquet_table(path)
        if "gene" not in table.names:
            raise UserError(f"{path}: has no column gene; expected a panel, as outputs/prepared/panel.parquet is.")
        names = list(table.column("gene"))
    else:
        from sctransformer.data.cells import CellFile
        from sctransformer.data.genes import identify, read_gene_map

        with CellFile(path) as cells:
            identity = identify(cells.var, read_gene_map(), str(path), gene_column)
        typer.echo(f"{path}: {identity.summary()}")
        names = identity.genes.tolist()
    if not names:
        raise UserError(f"{path}: has no genes.")
    return list(dict.fromkeys(names))


def _read(path: Path, **how: Any) -> "Network":
    """A network of any format, its genes called as cells' genes are."""
    from sctransformer.prior.readers import read_network

    return read_network(path, aliases=_present_symbols(), **how)


@cache
def _present_symbols() -> Mapping[str, str]:
    from sctransformer.data.genes import read_gene_map

    return read_gene_map().alias_of


def _say(name: str, network: "Network") -> None:
    """What was read and put right."""
    repairs = network.repairs
    typer.echo(f"{name}: read as {repairs.format}, {repairs.lines:,} lines; {_size(network)}")
    for sentence in repairs.sentences():
        typer.echo(f"  {sentence}")


def _size(network: "Network") -> str:
    edges = network.edges
    known = (edges["sign"] != 0).mean() if len(edges) else 0.0
    return f"{len(edges):,} edges of {edges['regulator'].nunique():,} regulators, {known:.1%} with a known sign"


def _shown(value: float | int) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def _table(lines: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in lines)
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in lines))


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """A line that moves on standard error while something takes seconds; only on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(what)):
        yield


def _inside_dvc(path: Path) -> bool:
    return any((folder / ".dvc").is_dir() for folder in path.resolve().parents)


def _dvc_add(path: Path) -> None:
    import os
    import subprocess
    import sys

    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", "add", path.name]
    done = subprocess.run(
        command, cwd=path.resolve().parent, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR:")), done.stderr[-200:])
        raise UserError(f"{path}: was written, but `dvc add` failed ({' '.join(said.split())}); add it yourself.")
