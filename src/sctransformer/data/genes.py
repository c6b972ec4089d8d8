"""Gene identity: the human gene of each column of a file, named by symbol or by Ensembl id."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from sctransformer.data.gene_columns import ID_COLUMNS
from sctransformer.errors import UserError

VAR_NAMES = "var_names"
HUMAN_ENSEMBL = re.compile(r"^(ENSG\d{11})(\.\d+)?(_PAR_Y)?$")
FOREIGN_ENSEMBL = re.compile(r"^ENS(?!G\d)[A-Z]*G\d{6,}")
MOSTLY = 0.5
"""Fraction of foreign names above which a file is treated as of another species."""
NAMED = 5
"""Number of genes listed in a message."""
LONGEST = 60
"""Number of characters of a name shown in a message."""

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


@dataclass(frozen=True)
class GeneIdentity:
    """Genes of the columns of a file."""

    genes: pd.Index
    """Symbols, each once, in the order of their first column."""
    gene_of_column_F: np.ndarray
    """Position in `genes` of each column of the file, or -1 for a column without a symbol (int64)."""
    source: str
    """Source of the names: `var_names` or a column of var."""
    by_symbol: int
    """Columns named by a symbol, known or not."""
    by_ensembl: int
    """Columns named by an Ensembl id that has a symbol."""
    renamed: int
    """Columns with a former symbol."""
    unknown_symbols: int
    """Columns with an unknown symbol; they are kept."""
    lost: tuple[str, ...]
    """Ids without a symbol; their counts contribute to the library size only."""
    merged: tuple[str, ...]
    """Symbols of more than one column; their counts are summed."""

    def summary(self) -> str:
        """One line: genes found, mapped and lost."""
        parts = [f"{len(self.gene_of_column_F):,} columns from {self.source}"]
        if self.by_symbol:
            parts.append(f"{self.by_symbol:,} symbols ({self.unknown_symbols:,} not in the gene map)")
        if self.by_ensembl:
            parts.append(f"{self.by_ensembl:,} Ensembl ids mapped to symbols")
        if self.renamed:
            parts.append(f"{self.renamed:,} former symbols renamed")
        if self.merged:
            parts.append(f"{len(self.merged):,} symbols named more than once, summed ({_some(self.merged)})")
        parts.append(f"{len(self.lost):,} lost{f' ({_some(self.lost)})' if self.lost else ''}")
        return f"{len(self.genes):,} genes found: " + "; ".join(parts)

    def metrics(self) -> dict[str, int | str]:
        """The summary as numbers, for metrics."""
        return {
            "columns": len(self.gene_of_column_F),
            "genes": len(self.genes),
            "source": self.source,
            "by_symbol": self.by_symbol,
            "by_ensembl": self.by_ensembl,
            "renamed": self.renamed,
            "unknown_symbols": self.unknown_symbols,
            "merged": len(self.merged),
            "lost": len(self.lost),
        }

    def gather(self, counts_NF: sparse.csr_matrix) -> sparse.csr_matrix:
        """Counts by gene from counts by column; columns of the same gene are summed, lost columns dropped.

        Args:
            counts_NF: cells x columns of the file, CSR.

        Returns:
            Counts, cells x genes, CSR.
        """
        return sparse.csr_matrix(counts_NF @ self._columns_to_genes(counts_NF.dtype))

    def _columns_to_genes(self, dtype: np.dtype) -> sparse.csr_matrix:
        kept = np.flatnonzero(self.gene_of_column_F >= 0)
        where = (kept, self.gene_of_column_F[kept])
        shape = (len(self.gene_of_column_F), len(self.genes))
        return sparse.csr_matrix((np.ones(len(kept), dtype=dtype), where), shape=shape)


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


def identify(var: pd.DataFrame, known: GeneMap, source: str, column: str | None = None) -> GeneIdentity:
    """Identify the gene of each column of a file.

    Names are taken from the index of var or from a column that usually has gene names, whichever has the most known
    names (the index if they tie). Versions of Ensembl ids are removed and former symbols are replaced.

    Args:
        var: the file's table of genes.
        known: gene names to recognise.
        source: name of the file in errors.
        column: column of var with the names, or `var_names` for the index; None chooses it.

    Raises:
        UserError: the column does not exist, a name is empty, the genes are of another species, or no name is known and
            no column was given.
    """
    symbols = known.symbols
    chosen, names, recognised = choose_gene_names(var, known, source, column)
    _refuse_other_species(names, symbols, source)
    if recognised == 0 and column is None:
        places = _listed(list(_candidates(var, column, source)))
        raise UserError(
            f"{source}: no gene name in {places} is a human symbol or Ensembl id (found {_some(names)}); "
            "set data.gene_column to the column of var with gene names."
        )
    empty = [index for index, name in enumerate(names) if not name]
    if empty:
        raise UserError(
            f"{source}: {len(empty)} of {len(names)} gene names in {chosen} are empty, the first in column "
            f"{empty[0]}; name every gene, or set data.gene_column to another column of var."
        )
    return _identity(names, chosen, known, symbols)


def choose_gene_names(
    var: pd.DataFrame, known: GeneMap, source: str, column: str | None = None
) -> tuple[str, list[str], int]:
    """Choose where to take the gene names of a file from.

    Args and errors as for `identify`.

    Returns:
        The column of var (or `var_names`), its names, and the number of known names.
    """
    candidates, symbols = _candidates(var, column, source), known.symbols
    recognised = {place: sum(known.knows(name, symbols) for name in names) for place, names in candidates.items()}
    chosen = max(candidates, key=lambda place: recognised[place])  # the first of equals: the index
    return chosen, candidates[chosen], recognised[chosen]


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


def _identity(names: Sequence[str], chosen: str, known: GeneMap, symbols: frozenset[str]) -> GeneIdentity:
    position: dict[str, int] = {}
    gene_of_column_F = np.full(len(names), -1, dtype=np.int64)
    by_symbol = by_ensembl = renamed = unknown = 0
    lost, merged = [], dict[str, None]()
    for index, name in enumerate(names):
        symbol = known.symbol(name)
        if symbol is None:
            lost.append(name)
            continue
        if HUMAN_ENSEMBL.match(name):
            by_ensembl += 1
        else:
            by_symbol += 1
            renamed += symbol != name
            unknown += symbol not in symbols
        if symbol in position:
            merged[symbol] = None
        gene_of_column_F[index] = position.setdefault(symbol, len(position))
    return GeneIdentity(
        genes=pd.Index(list(position), dtype=object),
        gene_of_column_F=gene_of_column_F,
        source=chosen if chosen == VAR_NAMES else f"var[{chosen!r}]",
        by_symbol=by_symbol,
        by_ensembl=by_ensembl,
        renamed=renamed,
        unknown_symbols=unknown,
        lost=tuple(lost),
        merged=tuple(merged),
    )


def _candidates(var: pd.DataFrame, column: str | None, source: str) -> dict[str, list[str]]:
    if column is not None and column != VAR_NAMES and column not in var:
        present = ", ".join(map(str, var.columns)) or "none"
        raise UserError(f"{source}: var has no column {column!r} (columns: {present}); set data.gene_column.")
    wanted = [column] if column is not None else [VAR_NAMES, *(name for name in ID_COLUMNS if name in var)]
    return {name: _as_names(var.index.to_series() if name == VAR_NAMES else var[name]) for name in wanted}


def _as_names(values: pd.Series) -> list[str]:
    return values.astype("string").fillna("").str.strip().tolist()


def _refuse_other_species(names: Sequence[str], symbols: frozenset[str], source: str) -> None:
    foreign = [name for name in names if FOREIGN_ENSEMBL.match(name)]
    if len(foreign) > MOSTLY * len(names):
        species = "mouse genes" if foreign[0].startswith("ENSMUSG") else "genes of another species"
        raise UserError(
            f"{source}: {len(foreign):,} of {len(names):,} gene ids are Ensembl ids of {species} ({_some(foreign)}); "
            "the prior network is human: map them to human orthologues first."
        )
    other_case = [name for name in names if name not in symbols and name.upper() in symbols]
    if len(other_case) > MOSTLY * len(names):
        raise UserError(
            f"{source}: {len(other_case):,} of {len(names):,} gene names are human symbols only when capitals are "
            f"ignored ({_some(other_case)}), as mouse symbols are; the prior network is human: map them to human "
            "orthologues first."
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    shown = [f"{name[:LONGEST]}..." if len(name) > LONGEST else name for name in names[:NAMED]]
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name if name == VAR_NAMES else f"var[{name!r}]" for name in names)
