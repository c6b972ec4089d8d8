"""Arguments of `sctransformer prior ...`: named networks, weights, output files, and genes of cells or panels."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sctransformer.errors import UserError
from sctransformer.prior.network import Network

if TYPE_CHECKING:
    from sctransformer.data.gene_map import GeneMap

_INPUT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<path>.+?)(?::(?P<levels>[A-Z](?:,[A-Z])*))?", re.DOTALL)
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)=(?P<value>.+)")


class NetworkInput(NamedTuple):
    """A network given as NAME=FILE or NAME=FILE:LEVELS."""

    name: str
    path: Path
    levels: list[str]
    """DoRothEA levels to keep; empty keeps all."""


def parse_inputs(texts: Sequence[str]) -> list[NetworkInput]:
    """Parse the values of `--input`.

    Raises:
        UserError: a value has another form, or a name is repeated.
    """
    inputs: list[NetworkInput] = []
    for text in texts:
        match = _INPUT.fullmatch(text)
        if match is None:
            raise UserError(f"-i {text}: expected NAME=FILE or NAME=FILE:LEVELS, as in -i dorothea=dorothea.tsv:A,B,C.")
        name, path, levels = match["name"], match["path"], match["levels"]
        if any(name == other.name for other in inputs):
            raise UserError(f"-i {text}: the name {name!r} is used twice; give each network its own name.")
        inputs.append(NetworkInput(name, Path(path), levels.split(",") if levels else []))
    return inputs


def parse_named(texts: Sequence[str] | None, option: str, names: Sequence[str]) -> dict[str, str]:
    """Parse the NAME=VALUE values of an option.

    Args:
        texts: the values; None if the option was not given.
        option: the option, for messages.
        names: names of the inputs.

    Raises:
        UserError: a value has another form, or names no input.
    """
    values = {}
    for text in texts or []:
        match = _NAMED.fullmatch(text)
        if match is None:
            raise UserError(f"{option} {text}: expected NAME=VALUE, with the name of an input.")
        if match["name"] not in names:
            raise UserError(f"{option} {text}: no input is called {match['name']!r}; inputs are {', '.join(names)}.")
        values[match["name"]] = match["value"]
    return values


def parse_weights(texts: Sequence[str] | None, names: Sequence[str]) -> dict[str, float]:
    """Parse the values of `--weight`.

    Raises:
        UserError: as `parse_named`, or a weight is not in (0, 1].
    """
    weights = {}
    for name, value in parse_named(texts, "--weight", names).items():
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = float("nan")
        if not 0 < weights[name] <= 1:
            raise UserError(f"--weight {name}={value}: expected a number above 0 and up to 1.")
    return weights


def check_output(output: Path, force: bool) -> None:
    """Check the file that a network is written to.

    Raises:
        UserError: it is a folder, does not end in .tsv or .txt, or exists and `force` is False.
    """
    if output.is_dir():
        raise UserError(f"{output}: is a folder; give a file, as in {output / 'network.tsv'}.")
    if output.suffix.lower() not in (".tsv", ".txt"):
        raise UserError(f"{output}: a network is written as tab-separated text; use a name that ends in .tsv.")
    if output.exists() and not force:
        raise UserError(f"{output}: already exists; choose another name, or overwrite it with --force.")


def read_genes(path: Path, gene_column: str | None) -> tuple[list[str], str | None]:
    """Read the gene symbols of cells (h5ad, zarr) or of a panel (Parquet with the column gene).

    Returns:
        The symbols, each once, and for cells a summary of how their genes were recognised.

    Raises:
        UserError: the file cannot be read or has no genes.
    """
    from sctransformer.prior.tables import is_parquet, parquet_table

    summary = None
    if is_parquet(path):
        table = parquet_table(path)
        if "gene" not in table.names:
            raise UserError(f"{path}: has no column gene; expected a panel, such as outputs/prepared/panel.parquet.")
        names = list(table.column("gene"))
    else:
        from sctransformer.data.cells import CellFile
        from sctransformer.data.gene_map import read_gene_map
        from sctransformer.data.genes import identify

        with CellFile(path) as cells:
            identity = identify(cells.var, read_gene_map(), str(path), gene_column)
        summary, names = identity.summary(), identity.genes.tolist()
    if not names:
        raise UserError(f"{path}: has no genes.")
    return list(dict.fromkeys(names)), summary


def read_renamed(path: Path, **options: Any) -> Network:
    """Read a network of any format, its genes renamed to present symbols as the genes of cells are."""
    from sctransformer.prior.readers import read_network

    return read_network(path, aliases=gene_aliases(), **options)


def gene_aliases() -> Mapping[str, str]:
    """Former symbol -> present symbol."""
    return _human_genes().alias_of


def human_symbols() -> frozenset[str]:
    """Present and former human symbols."""
    known = _human_genes()
    return known.symbols | known.alias_of.keys()


@cache
def _human_genes() -> "GeneMap":
    from sctransformer.data.gene_map import read_gene_map

    return read_gene_map()
