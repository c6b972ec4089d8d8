"""The prior network in memory, its cleaning, and the project's own table of edges."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError
from sctransformer.files import atomic_write
from sctransformer.prior.complexes import expanded
from sctransformer.prior.pairs import EDGE_COLUMNS, SOURCE_SEPARATOR, merge_pairs
from sctransformer.prior.regulon_names import read_regulators
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.tables import Table, header_of, is_parquet, parquet_table, read_text, text_table
from sctransformer.wording import NAMED, counted, some

REQUIRED_COLUMNS = ("regulator", "target", "sign", "confidence")
OPTIONAL_COLUMNS = ("sources", "evidence", "reference")
SIGNS = {"1": 1, "+1": 1, "-1": -1, "0": 0}

LONGEST_EDGE = 120
"""Longest edge, in characters, that an error message shows."""
IMMUNE_NETWORK = Path(str(files("sctransformer.prior") / "immune_network.tsv"))
"""The built-in network: transcription factor -> target edges of human blood and immune cells."""


@dataclass(frozen=True, repr=False)
class Network:
    """Edges of a gene regulatory network, without self-edges, each pair once.

    Printing a network shows the number of edges, regulators, targets, signs and sources.
    """

    edges: pd.DataFrame
    """Columns regulator (str), target (str), sign (int8: 1 activates, -1 represses, 0 unknown), confidence (float64 in
    (0, 1]) and sources (str, names joined by ";"), sorted by regulator and target."""
    repairs: Repairs = field(default_factory=Repairs)
    """What was changed while the network was read."""

    def __len__(self) -> int:
        return len(self.edges)

    def __repr__(self) -> str:
        sign = self.edges["sign"]
        sources = self.edges["sources"].str.split(SOURCE_SEPARATOR).explode().value_counts()
        named = [f"{name} ({number:,})" for name, number in sources.head(NAMED).items()]
        more = f", {len(sources) - NAMED:,} more" if len(sources) > NAMED else ""
        return (
            f"Network: {counted(len(self), 'edge')} from {counted(len(self.regulators), 'regulator')} to "
            f"{counted(self.edges['target'].nunique(), 'target')}\n"
            f"    signs: {(sign > 0).sum():,} activating, {(sign < 0).sum():,} repressing, {(sign == 0).sum():,} "
            f"unknown\n"
            f"    sources: {', '.join(named) or 'none'}{more}"
        )

    @property
    def regulators(self) -> list[str]:
        """Genes with at least one target, sorted."""
        return sorted(self.edges["regulator"].unique())

    @property
    def genes(self) -> list[str]:
        """Genes at either end of an edge, sorted."""
        return sorted(set(self.edges["regulator"]) | set(self.edges["target"]))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(regulator, target) of each edge."""
        return list(zip(self.edges["regulator"], self.edges["target"], strict=True))

    def size(self) -> str:
        """Size in one line: `43,178 edges of 1,186 regulators, 54.0% with a known sign`."""
        signed = (self.edges["sign"] != 0).mean() if len(self) else 0.0
        regulators = self.edges["regulator"].nunique()
        return f"{counted(len(self), 'edge')} of {counted(regulators, 'regulator')}, {signed:.1%} with a known sign"

    def among(self, genes: Collection[str]) -> "Network":
        """The edges with both ends among `genes`."""
        inside = self.edges["regulator"].isin(genes) & self.edges["target"].isin(genes)
        return replace(self, edges=self.edges[inside].reset_index(drop=True))

    def onto(self, genes: Collection[str], min_targets: int) -> "Network":
        """The edges to targets among `genes`, of regulators with at least `min_targets` of them.

        A regulator need not be among the genes.
        """
        inside = self.edges[self.edges["target"].isin(genes)]
        targets = inside["regulator"].map(inside["regulator"].value_counts())
        return replace(self, edges=inside[targets >= min_targets].reset_index(drop=True))


def repaired(lines: pd.DataFrame, label: str, repairs: Repairs) -> Network:
    """Clean the edges of a file; each change is counted in `Network.repairs`.

    1. Complexes (AP1, NFKB, and JUN_FOS if JUN and FOS occur alone too) are replaced by their members, at either end.
    2. Self-edges are dropped: a gene keeps its own value through the residual connection.
    3. Rows of the same pair are merged into one edge: the highest confidence, the sources of all, and the sign with
       the greater summed confidence, 0 (unknown) if they tie. Sign 0 never outvotes a known sign.

    Args:
        lines: columns regulator, target, sign, confidence, sources; values checked.
        label: name of the file, for messages.
        repairs: format and notes of the reader.

    Raises:
        UserError: no edge between two different genes is left.
    """
    table, complexes, kept_names = expanded(lines)
    self_edge = (table["regulator"] == table["target"]).to_numpy()
    merged = merge_pairs(table[~self_edge], "highest")
    if len(merged.edges) == 0:
        raise UserError(f"{label}: has no edge between two different genes.")
    notes = repairs.notes
    if kept_names:
        notes += (f"{counted(len(kept_names), 'name')} that may be complexes, kept as written ({some(kept_names)}).",)
    record = replace(
        repairs,
        lines=len(lines),
        self_edges=int(self_edge.sum()),
        merged=int(merged.rows_J.sum()) - len(merged.edges),
        sign_conflicts=merged.sign_conflicts,
        sign_ties=merged.sign_ties,
        complexes=complexes,
        notes=notes,
    )
    return Network(merged.edges, record)


def with_approved_symbols(network: Network, aliases: Mapping[str, str]) -> Network:
    """Rename genes from former to present symbols, as is done for the genes of cells; duplicate edges are merged.

    Args:
        network: any network.
        aliases: former symbol -> present symbol.
    """
    named = network.edges[["regulator", "target"]]
    former = named.isin(list(aliases))
    if not former.to_numpy().any():
        return network
    edges = network.edges.copy()
    for column in ("regulator", "target"):
        edges[column] = edges[column].map(dict(aliases)).fillna(edges[column])
    self_edge = (edges["regulator"] == edges["target"]).to_numpy()
    merged = merge_pairs(edges[~self_edge], "highest")
    before = network.repairs
    repairs = replace(
        before,
        renamed=len(set(named.to_numpy()[former.to_numpy()])),
        self_edges=before.self_edges + int(self_edge.sum()),
        merged=before.merged + int(merged.rows_J.sum()) - len(merged.edges),
        sign_conflicts=before.sign_conflicts + merged.sign_conflicts,
        sign_ties=before.sign_ties + merged.sign_ties,
    )
    return Network(merged.edges, repairs)


def read_network_table(path: Path, confidence: Mapping[str, float], name: str | None = None) -> Network:
    """Read the project's own table of edges; for other formats see `sctransformer.prior.readers.read_network`.

    Args:
        path: tab-separated text, plain or gzipped, or Parquet, with the columns regulator, target, sign (1, -1, or 0:
            unknown) and confidence (a level, or a number in (0, 1]), and optionally sources, evidence and reference.
        confidence: weight of each confidence level.
        name: source of edges without one; None takes the name of the file.

    Returns:
        The network, cleaned, see `repaired`.

    Raises:
        UserError: columns are missing or unknown, or a value is not allowed; the message names the line.
    """
    table = _own_table(path)
    regulators, target = read_regulators(table, "regulator"), table.symbols("target")
    regulator, signs = regulators.genes, table.column("sign")
    sign = signs.map(SIGNS)
    table.refuse(sign.isna(), "sign", signs, f"1, -1, or 0 if it is unknown{_edge(regulator, target, sign)}")
    weights = table.column("confidence")
    weight = pd.to_numeric(weights.map(confidence).fillna(weights), errors="coerce").astype("float64")
    bad = ~((weight > 0) & (weight <= 1))
    allowed = f"{', '.join(confidence)} or a number above 0 and up to 1"
    table.refuse(bad, "confidence", weights, f"{allowed}{_edge(regulator, target, weight.mask(bad))}")
    sources = table.column("sources") if "sources" in table.names else pd.Series("", index=regulator.index)
    signed, notes = regulators.signs(sign.to_numpy(dtype="int8"))
    lines = pd.DataFrame(
        {
            "regulator": regulator,
            "target": target,
            "sign": signed,
            "confidence": weight,
            "sources": sources.where(sources.str.strip("; ") != "", name or name_of(path)),
        }
    )
    return repaired(lines, str(path), Repairs(format="table", notes=notes))


def write_network(network: Network, path: Path) -> None:
    """Write the project's own table; `read_network_table` gives the same edges back.

    Raises:
        UserError: the folder cannot be written.
    """
    with atomic_write(path) as temporary:
        network.edges.to_csv(temporary, sep="\t", index=False, columns=list(EDGE_COLUMNS), lineterminator="\n")


def name_of(path: Path) -> str:
    """File name without extensions: `collectri_human` for `collectri_human.tsv.gz`."""
    return path.name.split(".")[0] or path.name


def _edge(regulator: pd.Series, target: pd.Series, parsed: pd.Series) -> str:
    """The edge of the first invalid value, to append to the message."""
    bad = parsed.isna().to_numpy()
    if not bad.any():
        return ""
    edge = f"{regulator.iloc[bad.argmax()]} -> {target.iloc[bad.argmax()]}"
    return f" ({edge})" if len(edge) <= LONGEST_EDGE else ""


def _own_table(path: Path) -> Table:
    if is_parquet(path):
        table = parquet_table(path)
    else:
        text = read_text(path)
        header, separator = header_of(path, text)
        table = text_table(path, text, "\t")
        if separator != "\t" and set(REQUIRED_COLUMNS) <= set(header):
            raise UserError(
                f"{path}: columns are separated by {separator!r}; expected a table separated by tabs: "
                f"`sctransformer prior build -i {name_of(path)}={path} -o FILE` converts it."
            )
    missing = [column for column in REQUIRED_COLUMNS if column not in table.names]
    unknown = [column for column in table.names if column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if missing or unknown:
        found = ", ".join(repr(column) for column in table.names[:20]) + (", ..." if len(table.names) > 20 else "")
        raise UserError(
            f"{path}: columns are {found[:500]}; expected {', '.join(REQUIRED_COLUMNS)} "
            f"(and optionally {', '.join(OPTIONAL_COLUMNS)}), separated by tabs: "
            f"missing {', '.join(missing) or 'none'}, unknown {', '.join(unknown)[:200] or 'none'}; "
            f"`sctransformer prior build -i {name_of(path)}={path} -o FILE` converts a published network."
        )
    if len(table) == 0:
        raise UserError(f"{path}: has no edges.")
    return table
