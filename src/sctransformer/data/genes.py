"""Gene identity: the human gene of each column of a file, named by symbol or by Ensembl id."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from sctransformer.data.gene_columns import ID_COLUMNS
from sctransformer.data.gene_map import HUMAN_ENSEMBL, GeneMap
from sctransformer.data.gene_repairs import NO_REPAIRS, NameRepairs, repair_names
from sctransformer.errors import UserError
from sctransformer.wording import counted, some

VAR_NAMES = "var_names"
FOREIGN_ENSEMBL = re.compile(r"^ENS(?!G\d)[A-Z]*G\d{6,}")
MOSTLY = 0.5
"""Fraction of foreign names above which a file is treated as of another species."""


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
    repairs: NameRepairs = NO_REPAIRS
    """Names that were read although they are written differently."""

    def summary(self) -> str:
        """One line: genes found, mapped and lost."""
        parts = [f"{counted(len(self.gene_of_column_F), 'column')} from {self.source}"]
        if self.by_symbol:
            parts.append(f"{counted(self.by_symbol, 'symbol')} ({self.unknown_symbols:,} not in the gene map)")
        if self.by_ensembl:
            parts.append(f"{counted(self.by_ensembl, 'Ensembl id')} mapped to symbols")
        if self.renamed:
            parts.append(f"{counted(self.renamed, 'former symbol')} renamed")
        if self.repairs.symbol_of:
            parts.append(f"{counted(len(self.repairs.symbol_of), 'name')} repaired")
        if self.merged:
            parts.append(f"{counted(len(self.merged), 'symbol')} named more than once, summed ({some(self.merged)})")
        parts.append(f"{len(self.lost):,} lost{f' ({some(self.lost)})' if self.lost else ''}")
        return f"{counted(len(self.genes), 'gene')} found: " + "; ".join(parts)

    def metrics(self) -> dict[str, int | str]:
        """The summary as numbers, for metrics."""
        return {
            "columns": len(self.gene_of_column_F),
            "genes": len(self.genes),
            "source": self.source,
            "by_symbol": self.by_symbol,
            "by_ensembl": self.by_ensembl,
            "renamed": self.renamed,
            "repaired": len(self.repairs.symbol_of),
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


def identify(var: pd.DataFrame, known: GeneMap, source: str, column: str | None = None) -> GeneIdentity:
    """Identify the gene of each column of a file.

    Names are taken from the index of var or from a column that usually has gene names, whichever has the most known
    names (the index if they tie). Versions of Ensembl ids are removed, former symbols are replaced, and names that R
    or a spreadsheet changed are repaired, see `repair_names`.

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
    found = choose_gene_names(var, known, source, column)
    names = found.names
    _refuse_other_species(names, symbols, source)
    if found.recognised == 0 and column is None:
        places = _listed(list(_candidates(var, column, source)))
        raise UserError(
            f"{source}: no gene name in {places} is a human symbol or Ensembl id (found {some(names)}); "
            "set data.gene_column to the column of var with gene names."
        )
    empty = [index for index, name in enumerate(names) if not name]
    if empty:
        raise UserError(
            f"{source}: {len(empty)} of {len(names)} gene names in {found.place} are empty, the first in column "
            f"{empty[0]}; name every gene, or set data.gene_column to another column of var."
        )
    return _identity(found, known, symbols)


class ChosenNames(NamedTuple):
    """The gene names of a file."""

    place: str
    """`var_names` or a column of var."""
    names: list[str]
    repairs: NameRepairs
    recognised: int
    """Number of known names, repaired ones included."""


def choose_gene_names(var: pd.DataFrame, known: GeneMap, source: str, column: str | None = None) -> ChosenNames:
    """Choose where to take the gene names of a file from.

    Args and errors as for `identify`.
    """
    symbols = known.symbols
    chosen: ChosenNames | None = None
    most = (-1, -1)
    for place, names in _candidates(var, column, source).items():
        repairs = repair_names(names, known, symbols)
        exact = sum(known.knows(name, symbols) for name in names)
        total = exact + sum(name in repairs.symbol_of for name in names)
        if (total, exact) > most:  # the first of equals: the index
            chosen, most = ChosenNames(place, names, repairs, total), (total, exact)
    assert chosen is not None
    return chosen


def _identity(found: ChosenNames, known: GeneMap, symbols: frozenset[str]) -> GeneIdentity:
    names, chosen, repaired = found.names, found.place, found.repairs.symbol_of
    position: dict[str, int] = {}
    gene_of_column_F = np.full(len(names), -1, dtype=np.int64)
    by_symbol = by_ensembl = renamed = unknown = 0
    lost, merged = [], dict[str, None]()
    for index, name in enumerate(names):
        symbol = repaired.get(name) or known.symbol(name)
        if symbol is None:
            lost.append(name)
            continue
        if HUMAN_ENSEMBL.match(name):
            by_ensembl += 1
        else:
            by_symbol += 1
            renamed += symbol != name and name not in repaired
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
        repairs=found.repairs,
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
            f"{source}: {len(foreign):,} of {len(names):,} gene ids are Ensembl ids of {species} ({some(foreign)}); "
            "the prior network is human: map them to human orthologues first."
        )
    other_case = [name for name in names if name not in symbols and name.upper() in symbols]
    if len(other_case) > MOSTLY * len(names):
        raise UserError(
            f"{source}: {len(other_case):,} of {len(names):,} gene names are human symbols only when capitals are "
            f"ignored ({some(other_case)}), as mouse symbols are; the prior network is human: map them to human "
            "orthologues first."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name if name == VAR_NAMES else f"var[{name!r}]" for name in names)
