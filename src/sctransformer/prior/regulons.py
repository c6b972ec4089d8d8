"""Regulons of `pyscenic ctx` as networks: a row is a motif of a factor, with its target genes as a list of pairs."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd

from sctransformer.errors import UserError
from sctransformer.prior.columns import rank_share
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.regulon_names import read_regulators
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.tables import Table, header_of, is_symbol, text_table, truncated
from sctransformer.wording import counted

FACTOR, TARGETS, CONTEXT = "TF", "TargetGenes", "Context"
_NUMPY = re.compile(r"np\.float\d+\(([^()]*)\)")  # numbers as numpy 2 prints them


def regulon_table(path: Path, text: str, separator: str) -> Table:
    """Table of regulons, with the three-line header that pandas writes, or with a header of one line.

    Raises:
        UserError: the column TF or TargetGenes is missing.
    """
    lines = text.split("\n")
    names, _ = header_of(path, text)
    skipped = 0
    if TARGETS not in names:  # ,,Enrichment,...  /  ,,AUC,...,TargetGenes,...  /  TF,MotifID,,,
        levels = [[field.strip() for field in line.split(separator)] for line in lines[:3]]
        if len(levels) == 3 and len(set(map(len, levels))) == 1:
            names = [level or index for level, index in zip(levels[1], levels[2], strict=True)]
            skipped = 3
    missing = [name for name in (FACTOR, TARGETS) if name not in names]
    if missing:
        raise UserError(
            f"{path}: has no column {' and no column '.join(missing)}; expected the table that `pyscenic ctx` writes, "
            "with its header."
        )
    if skipped:
        return text_table(path, "\n" * skipped + "\n".join(lines[skipped:]), separator, names)
    return text_table(path, text, separator)


def regulon_network(table: Table, source: str) -> Network:
    """Network from the table of `regulon_table`.

    The sign is that of the factor's name (`Irf1(+)`) or else of the module (`activating` or `repressing` in the column
    Context). The number of a target is its
    importance by GRNBoost2; the confidence of a pair is the rank of its highest importance, as for adjacencies.

    Raises:
        UserError: the targets of a row are not a list of (gene, importance); the message names the line.
    """
    if len(table) == 0:
        raise UserError(f"{table.label}: has no edges.")
    factors = read_regulators(table, FACTOR)
    contexts = table.column(CONTEXT) if CONTEXT in table.names else pd.Series([""] * len(table), dtype=object)
    by_context = [("activating" in context) - ("repressing" in context) for context in contexts]
    signs, notes = factors.signs(by_context)
    targets = table.column(TARGETS)
    rows: list[tuple[str, str, int, float]] = []
    for index, (factor, sign, text) in enumerate(zip(factors.genes, signs.tolist(), targets, strict=True)):
        pairs = _pairs(text)
        if pairs is None:
            raise UserError(
                f"{table.label}: {table.unit} {table.numbers[index]} ({factor}) has {TARGETS} {truncated(text)}; "
                "expected a list such as [('CDK4', 5.2), ('CLN3', 0.6)]."
            )
        rows += [(factor, gene, sign, importance) for gene, importance in pairs]
    if not rows:
        raise UserError(f"{table.label}: has no edges.")
    table_of_pairs = pd.DataFrame(rows, columns=["regulator", "target", "sign", "importance"])
    highest = table_of_pairs.groupby(["regulator", "target", "sign"], as_index=False, sort=False)["importance"].max()
    lines = highest.assign(confidence=rank_share(highest["importance"].to_numpy(dtype=np.float64)), sources=source)
    note = (
        f"{counted(len(rows), 'target')} of {counted(len(table), 'motif')} give {counted(len(lines), 'signed pair')}."
    )
    return repaired(lines.drop(columns="importance"), table.label, Repairs(format="regulons", notes=(*notes, note)))


def _pairs(text: str) -> list[tuple[str, float]] | None:
    """The targets of a row, or None if the text is not a list of (gene, importance)."""
    try:
        value = ast.literal_eval(_NUMPY.sub(r"\1", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    if not isinstance(value, list):
        return None
    pairs = []
    for item in value:
        if not (isinstance(item, tuple) and len(item) == 2 and is_symbol(item[0])):
            return None
        if isinstance(item[1], bool) or not isinstance(item[1], int | float) or not 0 <= item[1] < float("inf"):
            return None
        pairs.append((item[0], float(item[1])))
    return pairs
