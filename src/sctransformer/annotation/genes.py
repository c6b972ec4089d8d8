"""Genes of a file and genes of the model: matching by name, coverage of the panel, gathering counts."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.features import genome_prefix
from sctransformer.data.gene_columns import ID_COLUMNS
from sctransformer.data.gene_map import GeneMap, read_aliases
from sctransformer.data.gene_repairs import NameRepairs
from sctransformer.data.genes import choose_gene_names
from sctransformer.data.normalise import average_counts
from sctransformer.data.species import species_of
from sctransformer.errors import UserError
from sctransformer.wording import some

_NAMED_IN_ERRORS = 10
_COMPARED = 3
"""Unknown names of the file, and expected names, that an error shows side by side."""
_UNDERSTOOD = 0.5
"""Coverage from which the names are taken to be of the kind that the model uses."""
_RECENT = 4
_recent: "dict[bytes, SymbolNames]" = {}
"""The last results of `named_by_symbol`, by the digest of its arguments: the files of a batch have the same genes."""
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}")


@dataclass(frozen=True)
class GeneMatch:
    """Which columns of a file hold the genes of a vocabulary. G: genes of the vocabulary, F: columns of the file."""

    column_G: NDArray[np.int64]
    """Column of each gene (the first, where a name occurs twice), or -1."""
    gene_of_column_F: NDArray[np.int64]
    """Gene in each column, or -1."""
    coverage: float
    """Mean expression of the genes found, as a fraction of that of the whole panel; 0 to 1."""
    missing: list[str]
    """Genes of the vocabulary that the file lacks, the most expressed first."""
    repeated: list[str]
    """Genes of the vocabulary that name more than one column; their counts are summed."""
    names_in: str = "var_names"
    """Where the names of the columns come from: `var_names` or a column of var."""
    notes: tuple[str, ...] = ()
    """What the user should know about how the names were read, a sentence each."""

    @cached_property
    def _gene_of_column_F(self) -> NDArray[np.int32]:
        """As `gene_of_column_F`, in the type of the indices of a small sparse matrix."""
        return self.gene_of_column_F.astype(np.int32)

    def select(self, counts_NF: sparse.csr_matrix) -> sparse.csr_matrix:
        """Counts in the order of the vocabulary, cells x genes, as float32; genes that the file lacks have none.

        Each pair of a cell and a gene is stored at most once, and no zero is stored.

        Args:
            counts_NF: cells x columns of the file.
        """
        gene_P = self._gene_of_column_F[counts_NF.indices]
        kept_P = np.flatnonzero(gene_P >= 0)  # positions are several times faster than a mask
        values_P = counts_NF.data[kept_P].astype(np.float32, copy=False)
        starts = np.searchsorted(kept_P, counts_NF.indptr)
        shape = (counts_NF.shape[0], len(self.column_G))
        counts_NG = sparse.csr_matrix((values_P, gene_P[kept_P], starts), shape=shape)
        if self.repeated or not counts_NF.has_canonical_format:
            counts_NG.sum_duplicates()
        if not counts_NG.data.all():
            counts_NG.eliminate_zeros()
        return counts_NG

    def without(self, absent_G: NDArray[np.bool_]) -> "GeneMatch":
        """The same columns, with some genes that count as not measured; `coverage` is that of the file."""
        return replace(self, column_G=np.where(absent_G, -1, self.column_G))

    def gather(self, counts_NF: sparse.csr_matrix) -> NDArray[np.float32]:
        """As `select`, dense; zero for genes that the file lacks (see `fill_absent`)."""
        return self.select(counts_NF).toarray()


def measured_genes(match: GeneMatch, absent_as_mean: bool) -> NDArray[np.bool_]:
    """Genes of the vocabulary that count as measured: those that the file has, or all if absent genes count as zero."""
    return match.column_G >= 0 if absent_as_mean else np.ones(len(match.column_G), dtype=bool)


def fill_absent(
    counts_NG: NDArray[np.float32],
    library_size_N: NDArray[np.floating],
    match: GeneMatch,
    vocabulary: pd.DataFrame,
) -> None:
    """Fill in genes that the file lacks with their average in training cells: not measured is not zero.

    A count of zero is evidence against every cell type that expresses the gene; the average is no evidence.
    `python -m pipelines.robustness.shift` measures the effect on accuracy.

    Args:
        counts_NG: cells x genes of the vocabulary, see `GeneMatch.gather`; changed. Filled counts are not integers.
        library_size_N: total counts of each cell.
        match: of the file's columns with the vocabulary.
        vocabulary: with `mean`, the mean log1p of counts per 10,000 in training cells.
    """
    absent_A = np.flatnonzero(match.column_G < 0)
    if len(absent_A):
        mean_A = vocabulary["mean"].to_numpy(dtype=np.float64)[absent_A]
        counts_NG[:, absent_A] = average_counts(mean_A, library_size_N)


class SymbolNames(NamedTuple):
    """The columns of a file by the symbols that the model uses."""

    genes: pd.Index
    """A symbol for each column; its own name where no symbol is known."""
    place: str
    """Where the names come from: `var_names` or a column of var."""
    repairs: NameRepairs
    """Names that are written differently from symbols and ids."""


def named_by_symbol(vocabulary: pd.DataFrame, var: pd.DataFrame, source: str) -> SymbolNames:
    """Translate the gene names of a file (symbols, former symbols or Ensembl ids) to the symbols that the model uses.

    Args:
        vocabulary: with `gene`, and `ensembl_id` where the model has ids, see `Bundle.vocabulary`.
        var: the file's table of genes. Names are taken from its index or from a column that usually holds gene ids,
            whichever names most genes of the vocabulary.
        source: what to call the file in errors.
    """
    key = _key(vocabulary, var)
    found = _recent.get(key)
    if found is None:
        found = _named_by_symbol(vocabulary, var, source)
        while len(_recent) >= _RECENT:
            _recent.pop(next(iter(_recent)), None)
        _recent[key] = found
    return found


def _key(vocabulary: pd.DataFrame, var: pd.DataFrame) -> bytes:
    """Digest of what `_named_by_symbol` reads."""
    read = [vocabulary[name] for name in ("gene", "ensembl_id") if name in vocabulary]
    read += [var.index.to_series(), *(var[name].rename(name) for name in ID_COLUMNS if name in var)]
    digest = hashlib.sha256()
    for column in read:
        digest.update(f"{column.name}\0{len(column)}\0".encode())
        digest.update("\0".join(column.astype("string").fillna("").tolist()).encode(errors="surrogatepass"))
    return digest.digest()


def _named_by_symbol(vocabulary: pd.DataFrame, var: pd.DataFrame, source: str) -> SymbolNames:
    ids = vocabulary["ensembl_id"] if "ensembl_id" in vocabulary else [""] * len(vocabulary)
    genes = vocabulary["gene"].tolist()
    symbol_of = {one: gene for gene, several in zip(genes, ids, strict=True) for one in str(several).split(";") if one}
    present = set(genes)
    aliases = {former: now for former, now in read_aliases().items() if now in present and former not in present}
    known = GeneMap(symbol_of, aliases, frozenset(genes))
    found = choose_gene_names(var, known, source)
    repaired = found.repairs.symbol_of
    symbols = [repaired.get(name) or known.symbol(name) or name for name in found.names]
    return SymbolNames(pd.Index(symbols, dtype=object), found.place, found.repairs)


def match_genes(vocabulary: pd.DataFrame, genes: pd.Index) -> GeneMatch:
    """Find the genes of a vocabulary by name.

    Args:
        vocabulary: with `gene` and `mean`, one row per gene, see `Bundle.vocabulary`.
        genes: names of the file's columns.
    """
    names = pd.Index(vocabulary["gene"])
    gene_of_column_F = names.get_indexer(genes).astype(np.int64)
    found_F = np.flatnonzero(gene_of_column_F >= 0)
    column_G = np.full(len(names), -1, dtype=np.int64)
    column_G[gene_of_column_F[found_F[::-1]]] = found_F[::-1]  # the last write wins: the first column
    weight_G = _weights(vocabulary)
    missing_G = np.flatnonzero(column_G < 0)
    missing_G = missing_G[np.argsort(-weight_G[missing_G], kind="stable")]
    uses_G = np.bincount(gene_of_column_F[found_F], minlength=len(names))
    return GeneMatch(
        column_G=column_G,
        gene_of_column_F=gene_of_column_F,
        coverage=coverage_of_genes(vocabulary, column_G >= 0),
        missing=names[missing_G].tolist(),
        repeated=names[uses_G > 1].tolist(),
    )


def match_table(
    vocabulary: pd.DataFrame, var: pd.DataFrame, source: str, min_coverage: float, names: str | None = None
) -> GeneMatch:
    """Match a table of genes with the vocabulary, and refuse it if it lacks too much of the panel.

    Args:
        vocabulary: see `Bundle.vocabulary`.
        var: the table, see `named_by_symbol`.
        source: what to call the cells in errors.
        min_coverage: smallest coverage, 0 to 1.
        names: what to call the place of the gene names in errors; None: `var_names`.

    Raises:
        UserError: as `require_coverage`.
    """
    genes, names_in, repairs = named_by_symbol(vocabulary, var, source)
    match = replace(match_genes(vocabulary, genes), names_in=names_in, notes=repairs.notes())
    require_coverage(match, vocabulary, genes, source, min_coverage, names or "var_names")
    return match


def require_coverage(
    match: GeneMatch, vocabulary: pd.DataFrame, genes: pd.Index, source: str, minimum: float, names: str = "var_names"
) -> None:
    """Refuse a file that lacks too much of the panel.

    Args:
        match: of the file's columns with the vocabulary.
        vocabulary: see `Bundle.vocabulary`.
        genes: names of the file's columns, as `named_by_symbol` returns them.
        source: what to call the file in the error.
        minimum: smallest coverage, 0 to 1.
        names: what to call the place of the gene names in the error.

    Raises:
        UserError: names the coverage, the most expressed missing genes and the likely cause.
    """
    if match.coverage >= minimum:
        return
    unknown = genes[match.gene_of_column_F < 0]
    compared = (
        f" (names in the file: {', '.join(map(str, unknown[:_COMPARED]))}; expected: "
        f"{', '.join(match.missing[:_COMPARED])})"
        if len(unknown)
        else ""
    )
    raise UserError(
        f"{source}: its genes cover {match.coverage:.1%} of the expression that the model reads, under the minimum of "
        f"{minimum:.1%}; most expressed missing genes: {some(match.missing, _NAMED_IN_ERRORS)}; "
        f"{_advice(match, vocabulary, genes, names)}{compared}."
    )


def coverage_of_genes(vocabulary: pd.DataFrame, measured_G: NDArray[np.bool_]) -> float:
    """Mean expression of some genes, as a fraction of that of the whole panel; 0 to 1."""
    weight_G = _weights(vocabulary)
    return float(weight_G[measured_G].sum() / weight_G.sum())


def _advice(match: GeneMatch, vocabulary: pd.DataFrame, genes: pd.Index, names: str) -> str:
    wanted: Sequence[str] = vocabulary["gene"].tolist()
    found, own = species_of(genes), species_of(wanted)
    if found != own and match.coverage < _UNDERSTOOD:
        return f"genes are named as {found} genes, but the model is for {own} cells: use a model of the file's species"
    if _mostly_ensembl(genes) and not _mostly_ensembl(wanted):
        if "ensembl_id" not in vocabulary or not vocabulary["ensembl_id"].astype(bool).any():
            return f"genes are named by Ensembl ids, but the model uses symbols: set {names} to symbols"
        if match.coverage == 0:
            return "genes are named by Ensembl ids, none of which the model knows: check the species"
    if _mostly_ensembl(wanted) and not _mostly_ensembl(genes):
        return f"the model uses Ensembl ids: set {names} to Ensembl ids"
    if prefixes := _genomes_named(genes):
        return (
            f"gene names start with {' and '.join(map(repr, prefixes))}, as Cell Ranger writes for several genomes: "
            "keep only the genes of the model's species and remove their prefix"
        )
    folded = vocabulary.assign(gene=vocabulary["gene"].str.upper())
    if match_genes(folded, genes.str.upper()).coverage > match.coverage + 0.1:
        return "more names match when case is ignored, as mouse symbols match human ones: check the species"
    if match.coverage >= _UNDERSTOOD:
        return "the gene names are known, so these genes are missing: use the cells from before genes were filtered"
    return f"check that {names} holds gene names of the kind that the model uses, and that genes were not filtered"


def _mostly_ensembl(names: Sequence[str] | pd.Index) -> bool:
    return 2 * sum(_ENSEMBL.match(str(name)) is not None for name in names) > len(names) > 0


def _genomes_named(names: Sequence[str] | pd.Index) -> list[str]:
    """The genome prefixes of most names, as in `GRCh38_CD3E`; none where most have none."""
    found = Counter(prefix for name in names if (prefix := genome_prefix(str(name))) is not None)
    return [prefix for prefix, _ in found.most_common()] if 2 * found.total() > len(names) else []


def _weights(vocabulary: pd.DataFrame) -> NDArray[np.float64]:
    weight_G = vocabulary["mean"].to_numpy(dtype=np.float64).clip(min=0.0)
    return weight_G if weight_G.sum() > 0 else np.ones(len(weight_G))  # a panel without means: equal weights
