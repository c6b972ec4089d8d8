"""Protein complexes in a network: names that stand for several genes are replaced by their members."""

import re
from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from sctransformer.prior.repairs import Expansion

COMPLEXES: Mapping[str, tuple[str, ...]] = {
    "AP1": ("FOS", "FOSB", "FOSL1", "FOSL2", "JUN", "JUNB", "JUND"),
    "NFKB": ("NFKB1", "NFKB2", "REL", "RELA", "RELB"),
}
"""The two complexes that CollecTRI lists under their own name (Müller-Dott et al. 2023, doi:10.1093/nar/gkad841)."""

_PREFIX = "COMPLEX:"  # OmniPath's
_BETWEEN = re.compile("[_:]")
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9-]+")


def members_of(name: str, present: Collection[str]) -> tuple[str, ...] | None:
    """Genes of a complex, or None if the name is that of a gene.

    AP1 and NFKB (also AP-1, NF-kB, and Ap1 for the mouse) are known. `JUN_FOS` and `JUN:FOS` are complexes if each
    part is also a name of its own in the network (`present`): some gene names contain an underscore (C4B_2, Y_RNA.1).
    """
    known = COMPLEXES.get(name.upper().replace("-", "").replace("_", ""))
    if known:
        return tuple(gene.capitalize() for gene in known) if name == name.capitalize() else known
    if name.startswith(_PREFIX) and len(name) > len(_PREFIX):
        parts = tuple(dict.fromkeys(_BETWEEN.split(name.removeprefix(_PREFIX))))
        return parts if all(parts) else None
    parts = tuple(dict.fromkeys(_BETWEEN.split(name)))
    return parts if len(parts) > 1 and all(part in present for part in parts) else None


def expanded(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Expansion, ...], tuple[str, ...]]:
    """Replace complexes by their members, both as regulators and as targets.

    Args:
        table: columns regulator, target and any others, which each member inherits.

    Returns:
        The table with members in place of complexes; one record per complex, sorted by edges in descending order; and
        names that look like complexes but were kept, because their parts are not names of their own in the network.
    """
    names = pd.unique(pd.concat([table["regulator"], table["target"]]))
    parts = _resolved(names)
    kept = tuple(sorted(name for name in names if name not in parts and _looks_composed(name)))
    if not parts:
        return table, (), kept
    touched = table["regulator"].isin(parts) | table["target"].isin(parts)
    few = table[touched]
    copies = pd.Series(1, index=few.index)
    for column in ("regulator", "target"):
        copies *= few[column].map(lambda name: len(parts.get(name, (name,))))
    records = []
    for name in parts:
        own = (few["regulator"] == name) | (few["target"] == name)
        if own.any():
            records.append(Expansion(name, parts[name], int(own.sum()), int(copies[own].sum())))
    grown = few.copy()
    for column in ("regulator", "target"):
        grown[column] = grown[column].map(lambda name: list(parts.get(name, (name,))))
        grown = grown.explode(column)
    records.sort(key=lambda record: (-record.edges, record.name))
    return pd.concat([table[~touched], grown], ignore_index=True), tuple(records), kept


def _resolved(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Genes of each complex. A part may itself be a complex, or make other names complexes: repeat until done."""
    present = set(names)
    direct: dict[str, tuple[str, ...]] = {}
    candidates = present
    while candidates:
        found = {name: parts for name in candidates if (parts := members_of(name, present))}
        if not found:
            break
        direct |= found
        present = present | {part for parts in found.values() for part in parts}
        candidates = present - set(direct)

    def genes(name: str) -> tuple[str, ...]:
        parts = direct.get(name)
        return (name,) if parts is None else tuple(dict.fromkeys(gene for part in parts for gene in genes(part)))

    return {name: genes(name) for name in sorted(direct)}


def _looks_composed(name: str) -> bool:
    parts = _BETWEEN.split(name)
    return len(parts) > 1 and all(_SYMBOL.fullmatch(part) for part in parts)
