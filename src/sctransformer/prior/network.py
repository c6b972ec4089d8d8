"""Prior networks as tables of signed, weighted edges, and how a table is read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError

REQUIRED_COLUMNS = ("regulator", "target", "sign", "confidence")
OPTIONAL_COLUMNS = ("evidence", "reference")
SIGNS = {"1": 1, "+1": 1, "-1": -1}

EMBEDDED_NETWORK = Path(str(files("sctransformer.prior") / "immune_network.tsv"))
"""Transcription factor -> target edges of human blood and immune cells, written for this package."""


@dataclass(frozen=True)
class Network:
    """Edges of a gene regulatory network: no self-edge, no pair twice.

    `edges` has the columns regulator (str), target (str), sign (int8: 1 activates, -1 represses) and
    confidence (float64 in (0, 1]), sorted by regulator and target.
    """

    edges: pd.DataFrame

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def regulators(self) -> list[str]:
        """Genes with at least one target, sorted."""
        return sorted(self.edges["regulator"].unique())

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(regulator, target) of each edge."""
        return list(zip(self.edges["regulator"], self.edges["target"], strict=True))

    def among(self, genes: Collection[str]) -> "Network":
        """The edges with both ends among `genes`."""
        inside = self.edges["regulator"].isin(genes) & self.edges["target"].isin(genes)
        return Network(self.edges[inside].reset_index(drop=True))


def read_network(path: Path, confidence: Mapping[str, float]) -> Network:
    """Read a tab-separated table of edges.

    Args:
        path: columns regulator, target, sign (1, -1) and confidence (a level, or a number in (0, 1]); evidence and
            reference may stand beside them.
        confidence: weight of each confidence level.

    Raises:
        UserError: columns are missing or unknown, a value is none of those allowed, a pair stands twice, or a gene
            regulates itself; the message names the line.
    """
    table = read_edge_table(path)
    sign = table["sign"].map(SIGNS)
    _refuse(table, path, sign.isna(), "sign", "1 or -1")
    weight = table["confidence"].map(confidence).fillna(pd.to_numeric(table["confidence"], errors="coerce"))
    allowed = f"{', '.join(confidence)} or a number above 0 and up to 1"
    _refuse(table, path, ~((weight > 0) & (weight <= 1)), "confidence", allowed)
    for column in ("regulator", "target"):
        _refuse(table, path, table[column] == "", column, "a gene symbol")
    _refuse(table, path, table["regulator"] == table["target"], "target", "another gene than the regulator")
    _refuse(table, path, table.duplicated(["regulator", "target"]), "target", "each regulator and target once")
    edges = pd.DataFrame(
        {
            "regulator": table["regulator"],
            "target": table["target"],
            "sign": sign.astype("int8"),
            "confidence": weight.astype("float64"),
        }
    )
    return Network(edges.sort_values(["regulator", "target"], ignore_index=True))


def read_edge_table(path: Path) -> pd.DataFrame:
    """Read the table as text, columns checked, values not.

    Raises:
        UserError: the file is absent or no table, or its columns are not those of a network.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; set prior.network in params.yaml.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a tab-separated table ({' '.join(str(error).split())}).") from error
    missing = [column for column in REQUIRED_COLUMNS if column not in table]
    unknown = [str(column) for column in table if column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]
    if missing or unknown:
        found = ", ".join(repr(str(column)) for column in table)
        raise UserError(
            f"{path}: columns are {found}; expected {', '.join(REQUIRED_COLUMNS)} "
            f"(and at most {', '.join(OPTIONAL_COLUMNS)}), separated by tabs: "
            f"missing {', '.join(missing) or 'none'}, unknown {', '.join(unknown) or 'none'}."
        )
    if table.empty:
        raise UserError(f"{path}: holds no edge.")
    return table.apply(lambda column: column.str.strip())


def _refuse(table: pd.DataFrame, path: Path, bad: pd.Series, column: str, expected: str) -> None:
    if bad.any():
        position = int(bad.to_numpy().argmax())
        row, line = table.iloc[position], position + 2  # the header is line 1
        raise UserError(
            f"{path}: line {line} ({row['regulator']} -> {row['target']}) has {column} {row[column]!r}; "
            f"expected {expected}."
        )
