"""Human gene names: symbols of Ensembl ids, present and former symbols."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError

HUMAN_ENSEMBL = re.compile(r"^(ENSG\d{11})(\.\d+)?(_PAR_Y)?$")

ALIASES = Path(str(files("sctransformer.data") / "symbol_aliases.tsv"))
"""Former and present symbols of genes that blood cells express and that have been renamed."""


@dataclass(frozen=True)
class GeneMap:
    """Human gene names: symbols of Ensembl ids, and former symbols."""

    symbol_of: Mapping[str, str]
    """Ensembl id, without version -> symbol."""
    alias_of: Mapping[str, str]
    """Former symbol -> present symbol."""
    without_id: frozenset[str] = frozenset()
    """Present symbols without a known Ensembl id."""

    @property
    def symbols(self) -> frozenset[str]:
        """All present symbols."""
        return frozenset(self.symbol_of.values()) | self.without_id

    def symbol(self, name: str) -> str | None:
        """Present symbol of a name; None for an unknown Ensembl id, the name itself for another unknown name."""
        identifier = HUMAN_ENSEMBL.match(name)
        return self.symbol_of.get(identifier[1]) if identifier else self.alias_of.get(name, name)

    def knows(self, name: str, symbols: Collection[str]) -> bool:
        """Whether a name is an Ensembl id with a symbol, a present symbol, or a former symbol.

        Args:
            name: the name.
            symbols: `self.symbols`, which takes time to collect.
        """
        identifier = HUMAN_ENSEMBL.match(name)
        return identifier[1] in self.symbol_of if identifier else name in symbols or name in self.alias_of


def read_gene_map(path: Path | None = None) -> GeneMap:
    """Read a table of Ensembl ids and symbols; by default GENCODE v44 from the CellTypist package.

    Args:
        path: two columns, Ensembl id and symbol, separated by a comma or a tab, with or without a header.

    Raises:
        UserError: the file is missing, or has no line with an Ensembl id and a symbol.
    """
    path = path or packaged_gene_map()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected a table of Ensembl ids and symbols.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text; expected a table of Ensembl ids and symbols.") from error
    symbol_of: dict[str, str] = {}
    for line in text.splitlines():
        identifier, _, symbol = line.replace("\t", ",").partition(",")
        match, symbol = HUMAN_ENSEMBL.match(identifier.strip()), symbol.split(",")[0].strip()
        if match and symbol:
            symbol_of.setdefault(match[1], symbol)
    if not symbol_of:
        raise UserError(
            f"{path}: has no line with an Ensembl id (ENSG...) and a symbol; expected two columns, "
            "separated by a comma or a tab."
        )
    present = set(symbol_of.values())
    aliases = {former: now for former, now in read_aliases().items() if former not in present and now in present}
    return GeneMap(symbol_of, aliases)


def packaged_gene_map() -> Path:
    """Path of the table in the CellTypist package (MIT licence), without importing the package."""
    spec = find_spec("celltypist")
    if spec is None or spec.origin is None:
        raise UserError("the package celltypist is not installed; install it or set data.gene_map to your own table.")
    return Path(spec.origin).parent / "data" / "samples" / "GENCODEv44_Gene_id2name.csv"


def ensembl_ids(genes: Sequence[str], known: GeneMap) -> list[str]:
    """Ensembl ids of symbols, several of one gene joined by `;`; empty if none is known."""
    ids_of: dict[str, list[str]] = {}
    for identifier, symbol in known.symbol_of.items():
        ids_of.setdefault(symbol, []).append(identifier)
    return [";".join(sorted(ids_of.get(gene, []))) for gene in genes]


def read_aliases() -> dict[str, str]:
    """Former symbol -> present symbol, from the table of the package."""
    table = pd.read_csv(ALIASES, sep="\t", dtype=str, comment="#")
    return dict(zip(table["former"], table["present"], strict=True))
