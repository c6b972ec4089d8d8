"""Gene names that R, spreadsheets and joined tables changed: read back where exactly one gene is possible."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sctransformer.data.gene_map import HUMAN_ENSEMBL, GeneMap

JOINED = "with an Ensembl id and a symbol"
RESPELLED = "with replaced characters"
DATE = "written as a date"
NUMBERED = "with an added number"
_RANK = (JOINED, RESPELLED, DATE, NUMBERED)
"""Kinds of repairs. Of several names that may be one gene, the name of the first kind is read as that gene."""
_SHOWN = 3

_ID_FIRST = re.compile(r"^(ENSG\d{11})(?:\.\d+)?[_|:-]+(\S+)$")
_ID_LAST = re.compile(r"^(\S+?)[_|:-]+(ENSG\d{11})(?:\.\d+)?$")
_ADDED_NUMBER = re.compile(r"^(.+)[.-]\d{1,3}$")
"""The number that R's make.unique (`HLA.A.1`) and anndata's var_names_make_unique (`HLA-A-1`) add."""
_REPLACED = re.compile(r"[^A-Za-z0-9._]")
"""Characters that R's make.names replaces by a dot."""
_DAY_MONTH = re.compile(r"^X?(\d{1,2})[.-](Mar|Sept?)$", re.IGNORECASE)
_MONTH_DAY = re.compile(r"^(Mar|Sept?)[.-](\d{1,2})$", re.IGNORECASE)
_ISO = re.compile(r"^X?\d\d(\d\d)[.-](03|09)[.-](\d\d)(?:\D.*)?$")


@dataclass(frozen=True)
class NameRepairs:
    """What was done with the names of a file that are no gene names as they stand."""

    symbol_of: Mapping[str, str] = field(default_factory=dict)
    """Name in the file -> symbol, for each repaired name."""
    kind_of: Mapping[str, str] = field(default_factory=dict)
    """Name in the file -> what was changed in it."""
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name in the file -> the several genes that it may mean; not repaired."""
    taken: Mapping[str, str] = field(default_factory=dict)
    """Name in the file -> the gene that it would mean, which another name of the file means; not repaired."""

    def notes(self) -> tuple[str, ...]:
        """One sentence each: what was repaired, what has several meanings, and what would repeat a gene."""
        found = []
        if self.symbol_of:
            parts = []
            for kind in _RANK:
                names = [name for name, own in self.kind_of.items() if own == kind]
                if names:
                    some = ", ".join(f"{name} -> {self.symbol_of[name]}" for name in names[:_SHOWN])
                    parts.append(f"{len(names):,} {kind} ({some})")
            found.append(f"{_genes(len(self.symbol_of))} repaired: {'; '.join(parts)}")
        if self.ambiguous:
            some = ", ".join(f"{name}: {' or '.join(genes)}" for name, genes in list(self.ambiguous.items())[:_SHOWN])
            found.append(f"{_genes(len(self.ambiguous))} not repaired, because more than one gene is possible ({some})")
        if self.taken:
            some = ", ".join(f"{name}: {gene}" for name, gene in list(self.taken.items())[:_SHOWN])
            found.append(
                f"{_genes(len(self.taken))} not repaired, because another column has the gene that would be meant "
                f"({some}); their counts are not added to it"
            )
        return tuple(found)


NO_REPAIRS = NameRepairs()


def repair_names(names: Sequence[str], known: GeneMap, symbols: frozenset[str]) -> NameRepairs:
    """Find the genes of names that are unknown as written.

    Read are an Ensembl id joined with a symbol (`ENSG00000167286_CD3D`), names after R's make.names (`HLA.DRA`) or with
    an added number (`HLA-A-1`), and the dates that spreadsheets make of MARCHF and SEPTIN genes (`2-Sep`; Ziemann et
    al. 2016, doi:10.1186/s13059-016-1044-7). A name is repaired only if it has one possible meaning and no other name
    of the file means the same gene.

    Args:
        names: of the columns of a file.
        known: gene names.
        symbols: `known.symbols`, which takes time to collect.
    """
    unknown, exact = dict[str, None](), set[str]()
    for name in names:
        if known.knows(name, symbols):
            exact.add(known.symbol(name) or name)
        elif name and not HUMAN_ENSEMBL.match(name):
            unknown[name] = None
    meanings = _Meanings(known, symbols)
    ambiguous: dict[str, tuple[str, ...]] = {}
    claims: dict[str, dict[str, str]] = {}
    for name in unknown:
        kind_of = meanings.of(name)
        if len(kind_of) > 1:
            ambiguous[name] = tuple(kind_of)
        for symbol, kind in kind_of.items() if len(kind_of) == 1 else ():
            claims.setdefault(symbol, {})[name] = kind
    symbol_of, how, taken = dict[str, str](), dict[str, str](), dict[str, str]()
    for symbol, claimants in claims.items():
        first = min(claimants.values(), key=_RANK.index)
        best = [name for name, kind in claimants.items() if kind == first]
        free = symbol not in exact and (len(best) == 1 or first == JOINED)  # columns of several ids are summed
        for name, kind in claimants.items():
            if free and name in best:
                symbol_of[name], how[name] = symbol, kind
            else:
                taken[name] = symbol
    return NameRepairs(symbol_of, how, ambiguous, taken)


@dataclass(frozen=True)
class _Meanings:
    """The genes that a name may mean."""

    known: GeneMap
    symbols: frozenset[str]

    def of(self, name: str) -> dict[str, str]:
        """Possible symbols, and the kind of repair that gives each."""
        if joined := self._joined(name):
            return dict.fromkeys(joined, JOINED)
        if dates := self._dates(name):
            return dict.fromkeys(dates, DATE)
        found = dict.fromkeys(self._respelled.get(name, ()), RESPELLED)
        if number := _ADDED_NUMBER.match(name):
            found = dict.fromkeys(self._plain(number[1]), NUMBERED) | found
        return found

    def _plain(self, name: str) -> tuple[str, ...]:
        """Symbols of a name as it stands, else of a name that R changed."""
        if name in self.symbols:
            return (name,)
        if name in self.known.alias_of:
            return (self.known.alias_of[name],)
        return self._respelled.get(name, ())

    def _joined(self, name: str) -> dict[str, None]:
        if match := _ID_FIRST.match(name):
            identifier, rest = match.groups()
        elif match := _ID_LAST.match(name):
            rest, identifier = match.groups()
        else:
            return {}
        by_id = self.known.symbol_of.get(identifier)
        return dict.fromkeys([*([by_id] if by_id else []), *self._plain(rest)])

    def _dates(self, name: str) -> tuple[str, ...]:
        """Genes that a spreadsheet turns into this date; none if none of them is known."""
        if match := _DAY_MONTH.match(name):
            numbers, month = {int(match[1])}, match[2]
        elif match := _MONTH_DAY.match(name):
            numbers, month = {int(match[2])}, match[1]
        elif match := _ISO.match(name):  # 2006-03-01 is the 1st of March or, from Mar-06, March 2006
            numbers, month = {int(match[3])}, "Mar" if match[2] == "03" else "Sep"
            if int(match[3]) == 1 and 1 <= int(match[1]) <= 15:
                numbers.add(int(match[1]))
        else:
            return ()
        spellings = [genes for number in sorted(numbers) for genes in _genes_of_date(month[:3].capitalize(), number)]
        if not any(gene in self.symbols for genes in spellings for gene in genes):
            return ()
        return tuple(next((gene for gene in genes if gene in self.symbols), genes[0]) for genes in spellings)

    @cached_property
    def _respelled(self) -> dict[str, tuple[str, ...]]:
        """Spelling after make.names, or after Seurat's hyphens for underscores -> symbols."""
        found: dict[str, dict[str, None]] = {}
        for name in (*self.symbols, *self.known.alias_of):
            spellings = {_REPLACED.sub(".", f"X{name}" if name[:1].isdigit() else name), name.replace("_", "-")}
            for spelling in spellings - {name}:
                found.setdefault(spelling, {})[self.known.alias_of.get(name, name)] = None
        return {spelling: tuple(sorted(symbols)) for spelling, symbols in found.items()}


def _genes_of_date(month: str, number: int) -> list[tuple[str, ...]]:
    """Present and former symbol of each gene that is written like a day of the month."""
    if month == "Sep":
        return [("SELENOF", "SEP15") if number == 15 else (f"SEPTIN{number}", f"SEPT{number}")]
    genes: list[tuple[str, ...]] = [(f"MARCHF{number}", f"MARCH{number}")]
    return [*genes, (f"MTARC{number}", f"MARC{number}")] if number <= 2 else genes


def _genes(number: int) -> str:
    return f"{number:,} gene name{' was' if number == 1 else 's were'}"
