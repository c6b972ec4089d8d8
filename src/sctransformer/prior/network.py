"""Prior networks in memory, how they are put right, and the project's own table of edges."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError
from sctransformer.files import atomic_write
from sctransformer.prior.complexes import expanded
from sctransformer.prior.pairs import EDGE_COLUMNS, merge_pairs
from sctransformer.prior.repairs import SHOWN, Repairs, counted
from sctransformer.prior.tables import Table, header_of, is_parquet, parquet_table, read_text, text_table

REQUIRED_COLUMNS = ("regulator", "target", "sign", "confidence")
OPTIONAL_COLUMNS = ("sources", "evidence", "reference")
SIGNS = {"1": 1, "+1": 1, "-1": -1, "0": 0}

LONGEST_EDGE = 120
"""Letters of an edge that a message names."""
IMMUNE_NETWORK = Path(str(files("sctransformer.prior") / "immune_network.tsv"))
"""Transcription factor -> target edges of human blood and immune cells, written for this package."""


@dataclass(frozen=True)
class Network:
    """Edges of a gene regulatory network: no self-edge, no pair twice.

    `edges` has the columns regulator (str), target (str), sign (int8: 1 activates, -1 represses, 0 not known),
    confidence (float64 in (0, 1]) and sources (str, names joined by ";"), sorted by regulator and target.
    `repairs` says what was put right while it was read.
    """

    edges: pd.DataFrame
    repairs: Repairs = field(default_factory=Repairs)

    def __len__(self) -> int:
        return len(self.edges)

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

    def among(self, genes: Collection[str]) -> "Network":
        """The edges with both ends among `genes`."""
        inside = self.edges["regulator"].isin(genes) & self.edges["target"].isin(genes)
        return replace(self, edges=self.edges[inside].reset_index(drop=True))


def repaired(lines: pd.DataFrame, label: str, repairs: Repairs) -> Network:
    """A network from lines as they stand in a file; whatever is put right is counted, nothing goes without a word.

    1. Complexes (AP1, NFKB, JUN_FOS where JUN and FOS stand alone too) become their members, at either end.
    2. Self-edges are dropped: a gene keeps itself through the residual path.
    3. Lines of the same pair become one edge: the highest confidence, the sources of all, and the sign with the
       greater summed confidence. A tie is 0 (not known); 0 never outvotes a known sign.

    Args:
        lines: columns regulator, target, sign, confidence, sources; values checked.
        label: the file, for messages.
        repairs: what its reader has to say.

    Raises:
        UserError: no edge between two different genes is left.
    """
    table, complexes, kept_names = expanded(lines)
    itself = (table["regulator"] == table["target"]).to_numpy()
    merged = merge_pairs(table[~itself], "highest")
    if len(merged.edges) == 0:
        raise UserError(f"{label}: holds no edge between two different genes.")
    notes = repairs.notes
    if kept_names:
        some = ", ".join(kept_names[:SHOWN]) + (", ..." if len(kept_names) > SHOWN else "")
        notes += (f"{counted(len(kept_names), 'name')} such as a complex has, kept as written ({some}).",)
    record = replace(
        repairs,
        lines=len(lines),
        self_edges=int(itself.sum()),
        merged=int(merged.lines_E.sum()) - len(merged.edges),
        sign_conflicts=merged.sign_conflicts,
        sign_ties=merged.sign_ties,
        complexes=complexes,
        notes=notes,
    )
    return Network(merged.edges, record)


def with_approved_symbols(network: Network, aliases: Mapping[str, str]) -> Network:
    """Rename genes that go by a former symbol, as the cells' genes are renamed; edges that become one are merged.

    Args:
        network: any.
        aliases: former symbol -> present symbol.
    """
    named = network.edges[["regulator", "target"]]
    former = named.isin(list(aliases))
    if not former.to_numpy().any():
        return network
    edges = network.edges.copy()
    for column in ("regulator", "target"):
        edges[column] = edges[column].map(dict(aliases)).fillna(edges[column])
    itself = (edges["regulator"] == edges["target"]).to_numpy()
    merged = merge_pairs(edges[~itself], "highest")
    before = network.repairs
    repairs = replace(
        before,
        renamed=len(set(named.to_numpy()[former.to_numpy()])),
        self_edges=before.self_edges + int(itself.sum()),
        merged=before.merged + int(merged.lines_E.sum()) - len(merged.edges),
        sign_conflicts=before.sign_conflicts + merged.sign_conflicts,
        sign_ties=before.sign_ties + merged.sign_ties,
    )
    return Network(merged.edges, repairs)


def read_network_table(path: Path, confidence: Mapping[str, float], name: str | None = None) -> Network:
    """Read the project's own tab-separated table of edges (plain, gzipped or Parquet).

    Args:
        path: columns regulator, target, sign (1, -1, or 0: not known) and confidence (a level, or a number in (0, 1]);
            sources, evidence and reference may stand beside them.
        confidence: weight of each confidence level.
        name: the source of edges that name none; None takes the name of the file.

    Returns:
        The network, put right as `repaired` says.

    Raises:
        UserError: columns are missing or unknown, or a value is none of those allowed; the message names the line.
    """
    table = _own_table(path)
    regulator, target = table.symbols("regulator"), table.symbols("target")
    signs = table.column("sign")
    sign = signs.map(SIGNS)
    table.refuse(sign.isna(), "sign", signs, f"1 or -1, or 0 where it is not known{_edge(regulator, target, sign)}")
    weights = table.column("confidence")
    weight = pd.to_numeric(weights.map(confidence).fillna(weights), errors="coerce").astype("float64")
    bad = ~((weight > 0) & (weight <= 1))
    allowed = f"{', '.join(confidence)} or a number above 0 and up to 1"
    table.refuse(bad, "confidence", weights, f"{allowed}{_edge(regulator, target, weight.mask(bad))}")
    sources = table.column("sources") if "sources" in table.names else pd.Series("", index=regulator.index)
    lines = pd.DataFrame(
        {
            "regulator": regulator,
            "target": target,
            "sign": sign.astype("int8"),
            "confidence": weight,
            "sources": sources.where(sources.str.strip("; ") != "", name or name_of(path)),
        }
    )
    return repaired(lines, str(path), Repairs(format="table"))


def write_network(network: Network, path: Path) -> None:
    """Write the project's own table, with sources; `read_network_table` gives back the same edges.

    Raises:
        UserError: the folder cannot be written.
    """
    with atomic_write(path) as temporary:
        network.edges.to_csv(temporary, sep="\t", index=False, columns=list(EDGE_COLUMNS), lineterminator="\n")


def name_of(path: Path) -> str:
    """A file's name without its endings: `collectri_human` for `collectri_human.tsv.gz`."""
    return path.name.split(".")[0] or path.name


def _edge(regulator: pd.Series, target: pd.Series, parsed: pd.Series) -> str:
    """The edge of the first value that could not be understood, to stand behind the sentence."""
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
                f"`sctransformer prior build -i {name_of(path)}={path} -o FILE` makes one."
            )
    missing = [column for column in REQUIRED_COLUMNS if column not in table.names]
    unknown = [column for column in table.names if column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if missing or unknown:
        found = ", ".join(repr(column) for column in table.names[:20]) + (", ..." if len(table.names) > 20 else "")
        raise UserError(
            f"{path}: columns are {found[:500]}; expected {', '.join(REQUIRED_COLUMNS)} "
            f"(and at most {', '.join(OPTIONAL_COLUMNS)}), separated by tabs: "
            f"missing {', '.join(missing) or 'none'}, unknown {', '.join(unknown)[:200] or 'none'}; "
            f"`sctransformer prior build -i {name_of(path)}={path} -o FILE` makes such a table of a published network."
        )
    if len(table) == 0:
        raise UserError(f"{path}: holds no edge.")
    return table
