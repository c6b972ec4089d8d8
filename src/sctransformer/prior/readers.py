"""Readers of published networks: CollecTRI, DoRothEA, TRRUST, ChIP tables, pySCENIC, CellOracle, gene sets."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError
from sctransformer.params import PriorParams
from sctransformer.prior.base_grn import PEAK, TARGET, base_grn_from_parquet, base_grn_from_text
from sctransformer.prior.columns import LETTERS, confidences, letters, recognise, signs
from sctransformer.prior.gene_sets import gmt_network
from sctransformer.prior.network import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    Network,
    name_of,
    read_network_table,
    repaired,
    with_approved_symbols,
)
from sctransformer.prior.regulons import TARGETS, regulon_network, regulon_table
from sctransformer.prior.repairs import SHOWN, Repairs, counted
from sctransformer.prior.tables import Table, frame_table, header_of, is_parquet, parquet_table, read_text, text_table

FORMATS: Mapping[str, str] = {
    "auto": "by the file's columns",
    "table": "the project's own table",
    "collectri": "tf or source, target, mor or weight; also OmniPath's columns",
    "dorothea": "the same, with confidence A to E",
    "trrust": "tf, target, mor; or TRRUST's own file of four columns without a header",
    "chip": "tf and target, no sign (ReMap)",
    "adjacencies": "pySCENIC grn: TF, target, importance",
    "regulons": "pySCENIC ctx: TF, MotifID, ..., TargetGenes",
    "base-grn": "CellOracle: peak_id, gene_short_name, one column of 0 and 1 a factor",
    "gmt": "gene sets named after regulators",
    "edges": "any table with a column for the regulator and one for the target",
}
"""Names of formats, and what each looks like."""

_TRRUST_MODES = {"Activation", "Repression", "Unknown"}
_TRRUST = ("tf", "target", "mor", "pubmed_id")
_WITHOUT_LEVELS = ("table", "gmt", "regulons", "base-grn")
_TEXT_ONLY = ("gmt", "regulons")


def read_network(
    path: Path,
    *,
    name: str | None = None,
    kind: str = "auto",
    levels: Collection[str] = (),
    confidence: Mapping[str, float] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Network:
    """Read a network in any of the formats of FORMATS, put right as `network.repaired` says.

    Args:
        path: plain or gzipped text (tabs, commas or semicolons), or Parquet.
        name: the source written beside each edge; None takes the name of the file.
        kind: one of FORMATS.
        levels: DoRothEA levels (A to E) to keep; empty keeps all.
        confidence: weight of each confidence word; None takes the defaults of prior.confidence.
        aliases: former symbol -> present symbol, see `with_approved_symbols`; the project's own table, which the
            pipeline reads as it is, stays as it is.

    Raises:
        UserError: the file is no such network; one sentence that names the line.
    """
    if kind not in FORMATS:
        raise UserError(f"{path}: there is no format {kind!r}; choose one of {', '.join(FORMATS)}.")
    words = PriorParams().confidence if confidence is None else confidence
    source = name or name_of(path)
    wrong = sorted(set(levels) - set(LETTERS))
    if wrong:
        raise UserError(f"{path}: {', '.join(wrong)} is no level of confidence; choose from {', '.join(LETTERS)}.")
    parquet = is_parquet(path)
    text = "" if parquet else read_text(path)
    header, separator = (parquet_table(path).names, "") if parquet else header_of(path, text)
    found = _format_of(path, header, separator, kind)
    if levels and found in _WITHOUT_LEVELS:
        raise UserError(f"{path}: was read as {found}, which has no levels A to E; name it without levels.")
    if parquet and found in _TEXT_ONLY:
        raise UserError(f"{path}: is Parquet, but {found} is a text format; leave the format to auto.")
    if found == "table":
        return read_network_table(path, words, source)
    if found == "gmt":
        network = gmt_network(path, text, source)
    elif found == "regulons":
        network = regulon_network(regulon_table(path, text, separator), source)
    elif found == "base-grn" and parquet:
        network = base_grn_from_parquet(path, header, source)
    elif found == "base-grn":
        network = base_grn_from_text(path, text, separator, header, source)
    else:
        names = _TRRUST if found == "trrust" and _is_raw_trrust(header) else None
        table = parquet_table(path) if parquet else text_table(path, text, separator, names)
        network = network_of(table, source, found, levels, words)
    return with_approved_symbols(network, aliases or {})


def network_of(table: Table, source: str, kind: str, levels: Collection[str], words: Mapping[str, float]) -> Network:
    """A network from a table with one line an edge.

    Raises:
        UserError: columns are missing, or a value does not fit.
    """
    columns = recognise(table.label, table.names)
    if len(table) == 0:
        raise UserError(f"{table.label}: holds no edge.")
    needs = {
        "collectri": (columns.sign or columns.weight or columns.stimulation, "mor, weight or is_stimulation"),
        "dorothea": (columns.levels, "confidence or dorothea_level"),
        "trrust": (columns.sign, "mor"),
        "adjacencies": (columns.importance, "importance"),
    }
    if kind in needs and needs[kind][0] is None:
        raise UserError(f"{table.label}: has no column {needs[kind][1]}, which a file of {kind} has.")
    regulator, target = table.symbols(columns.regulator), table.symbols(columns.target)
    lines = pd.DataFrame(
        {
            "regulator": regulator,
            "target": target,
            "sign": signs(table, columns),
            "confidence": confidences(table, columns, words),
            "sources": source,
        }
    )
    notes = _unused(table, columns.used)
    if levels:
        level = letters(table, columns)
        if level is None:
            raise UserError(f"{table.label}: has no confidence levels A to E to choose from; name it without levels.")
        chosen = level.isin(list(levels))
        if not chosen.any():
            raise UserError(f"{table.label}: holds no edge of level {', '.join(sorted(levels))}.")
        if not chosen.all():
            others = ", ".join(sorted(set(level[~chosen])))
            notes = (f"{counted(int((~chosen).sum()), 'edge')} of level {others} left out.", *notes)
        lines = lines[chosen].reset_index(drop=True)
    return repaired(lines, table.label, Repairs(format=kind, notes=notes))


def network_of_frame(label: str, frame: pd.DataFrame, source: str, kind: str) -> Network:
    """A network from a table in memory, as decoupler gives it.

    Raises:
        UserError: as `network_of`.
    """
    return network_of(frame_table(label, frame), source, kind, (), PriorParams().confidence)


def _format_of(path: Path, header: list[str], separator: str, wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if any(suffix.lower() == ".gmt" for suffix in path.suffixes[-2:]):
        return "gmt"
    plain = {name.lower() for name in header}
    if TARGETS.lower() in plain or "Enrichment" in header:
        return "regulons"
    if {PEAK, TARGET} <= plain:
        return "base-grn"
    if _is_raw_trrust(header):
        return "trrust"
    own = set(REQUIRED_COLUMNS) <= set(header) <= {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}
    if own and separator in ("", "\t"):
        return "table"
    if "importance" in plain:
        return "adjacencies"
    return "edges"


def _is_raw_trrust(header: Sequence[str]) -> bool:
    return len(header) == len(_TRRUST) and header[2] in _TRRUST_MODES


def _unused(table: Table, used: set[str]) -> tuple[str, ...]:
    """A note on columns that were not read; those of the row's number are no matter."""
    over = [name for name in table.names if name not in used and not name.startswith(("row", "__index", "Unnamed:"))]
    if not over:
        return ()
    some = ", ".join(over[: 2 * SHOWN]) + (", ..." if len(over) > 2 * SHOWN else "")
    return (f"{counted(len(over), 'column')} not used: {some}.",)
