"""Readers of published networks: CollecTRI, DoRothEA, TRRUST, ChIP tables, pySCENIC, CellOracle, gene sets."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from sctransformer.errors import UserError
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
from sctransformer.prior.regulon_names import read_regulators
from sctransformer.prior.regulons import TARGETS, regulon_network, regulon_table
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.settings import PriorSettings
from sctransformer.prior.tables import Table, frame_table, header_of, is_parquet, parquet_table, read_text, text_table
from sctransformer.wording import NAMED, counted, some

FORMATS: Mapping[str, str] = {
    "auto": "by the file's columns",
    "table": "the project's own table: regulator, target, sign, confidence",
    "collectri": "tf or source, target, mor or weight; also OmniPath's columns",
    "dorothea": "as collectri, with confidence A to E",
    "trrust": "tf, target, mor; or TRRUST's file of four columns without a header",
    "chip": "tf and target, without sign (ReMap)",
    "adjacencies": "pySCENIC grn: TF, target, importance",
    "regulons": "pySCENIC ctx: TF, MotifID, ..., TargetGenes",
    "base-grn": "CellOracle: peak_id, gene_short_name, one column of 0 and 1 per factor",
    "gmt": "gene sets named after regulators",
    "edges": "any table with a column for the regulator and one for the target",
}
"""Formats and their columns."""

_TRRUST_MODES = {"Activation", "Repression", "Unknown"}
_TRRUST = ("tf", "target", "mor", "pubmed_id")
_WITHOUT_LEVELS = ("table", "gmt", "regulons", "base-grn")
_TEXT_ONLY = ("gmt", "regulons")


def read_network(
    path: str | Path,
    *,
    name: str | None = None,
    file_format: str = "auto",
    levels: Collection[str] = (),
    confidence: Mapping[str, float] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Network:
    """Read a gene regulatory network from a published file, in any of the formats of `FORMATS`, and clean it.

    Cleaning replaces protein complexes by their members, drops self-edges and merges rows of the same pair, see
    `sctransformer.prior.network.repaired`.

    Args:
        path: plain or gzipped text (tabs, commas or semicolons), or Parquet.
        name: source of the edges; None takes the name of the file.
        file_format: one of `FORMATS`; `auto` recognises the format by the columns.
        levels: DoRothEA levels (A to E) to keep; empty keeps all.
        confidence: weight of each confidence level; None takes the defaults of prior.confidence.
        aliases: former symbol -> present symbol, see `with_approved_symbols`; None renames no gene. Not used for the
            project's own table, which the pipeline reads without renaming.

    Regulators may be named as regulons are: the edges of `SPI1(+)` or `SPI1_+_+` activate, those of `SPI1(-)` repress.

    Returns:
        The network: edges with sign, confidence and sources, and what was changed.

    Raises:
        UserError: the file is missing, or is not a network; the message names the line.

    Examples:
        >>> network = read_network("dorothea_human_AE.tsv.gz", name="dorothea", levels=["A", "B", "C"])
        >>> network
        Network: 13,223 edges from 271 regulators to 5,321 targets
            signs: 11,173 activating, 2,050 repressing, 0 unknown
            sources: dorothea (13,223)
        >>> network.edges[network.edges["regulator"] == "SPI1"]
    """
    path = Path(path)
    if file_format not in FORMATS:
        raise UserError(f"{path}: unknown format {file_format!r}; choose one of {', '.join(FORMATS)}.")
    words = PriorSettings().confidence if confidence is None else confidence
    source = name or name_of(path)
    wrong = sorted(set(levels) - set(LETTERS))
    if wrong:
        raise UserError(f"{path}: {', '.join(wrong)} is not a confidence level; choose from {', '.join(LETTERS)}.")
    parquet = is_parquet(path)
    text = "" if parquet else read_text(path)
    header, separator = (parquet_table(path).names, "") if parquet else header_of(path, text)
    found = _format_of(path, header, separator, file_format)
    if levels and found in _WITHOUT_LEVELS:
        raise UserError(f"{path}: was read as {found}, which has no levels A to E; give it without levels.")
    if parquet and found in _TEXT_ONLY:
        raise UserError(f"{path}: is a Parquet file, but {found} is a text format; use the format auto.")
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
        network = network_from_table(table, source, found, levels, words)
    return with_approved_symbols(network, aliases or {})


def network_from_table(
    table: Table, source: str, kind: str, levels: Collection[str], words: Mapping[str, float]
) -> Network:
    """Network from a table with one row per edge.

    Raises:
        UserError: columns are missing, or a value does not fit.
    """
    columns = recognise(table.label, table.names)
    if len(table) == 0:
        raise UserError(f"{table.label}: has no edges.")
    needs = {
        "collectri": (columns.sign or columns.weight or columns.stimulation, "mor, weight or is_stimulation"),
        "dorothea": (columns.levels, "confidence or dorothea_level"),
        "trrust": (columns.sign, "mor"),
        "adjacencies": (columns.importance, "importance"),
    }
    if kind in needs and needs[kind][0] is None:
        raise UserError(f"{table.label}: has no column {needs[kind][1]}, which is expected in the format {kind}.")
    regulators, target = read_regulators(table, columns.regulator), table.symbols(columns.target)
    sign, notes = regulators.signs(signs(table, columns))
    lines = pd.DataFrame(
        {
            "regulator": regulators.genes,
            "target": target,
            "sign": sign,
            "confidence": confidences(table, columns, words),
            "sources": source,
        }
    )
    notes = (*notes, *_unused(table, columns.used))
    if levels:
        level = letters(table, columns)
        if level is None:
            raise UserError(f"{table.label}: has no confidence levels A to E; give it without levels.")
        chosen = level.isin(list(levels))
        if not chosen.any():
            raise UserError(f"{table.label}: has no edge of level {', '.join(sorted(levels))}.")
        if not chosen.all():
            others = ", ".join(sorted(set(level[~chosen])))
            notes = (f"{counted(int((~chosen).sum()), 'edge')} of level {others} left out.", *notes)
        lines = lines[chosen].reset_index(drop=True)
    return repaired(lines, table.label, Repairs(format=kind, notes=notes))


def network_from_frame(label: str, frame: pd.DataFrame, source: str, kind: str) -> Network:
    """Network from a table in memory, in the columns of decoupler.

    Raises:
        UserError: as `network_from_table`.
    """
    return network_from_table(frame_table(label, frame), source, kind, (), PriorSettings().confidence)


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
    """A note on columns that were not read, apart from row numbers."""
    unused = [name for name in table.names if name not in used and not name.startswith(("row", "__index", "Unnamed:"))]
    if not unused:
        return ()
    return (f"{counted(len(unused), 'column')} not used: {some(unused, 2 * NAMED)}.",)
