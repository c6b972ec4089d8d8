"""The species of genes by how they are written: human symbols in capitals, mouse symbols with one capital."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

Species = Literal["human", "mouse"]

_MIXED = 0.1
"""Fraction of a file's genes that each of two species has at least, in a file of both."""
_PAIRED = 0.2
"""Fraction of the mouse symbols of a file of both species that are human symbols of the file in capitals."""
_HUMAN_ORF = re.compile(r"^C[0-9XY]+orf\d")  # human symbols with small letters: C1orf112
_MOUSE = re.compile(r"^(?:ENSMUSG\d|mt-[A-Z]|[0-9A-Z]+Rik\d*$)")


def species_of(genes: Iterable[str]) -> Species:
    """The species that most gene names are written for."""
    names = [name for name in map(str, genes) if any(letter.isalpha() for letter in name)]
    mouse = sum(name.startswith("ENSMUSG") or name == name.capitalize() != name.upper() for name in names)
    return "mouse" if 2 * mouse > len(names) else "human"


def mixed_species(columns: Sequence[Sequence[str]]) -> list[str]:
    """The species of each gene in a file that has genes of human and mouse without the prefix of a genome.

    Such a file has at least a tenth of either kind. Mouse symbols count only if many of them are the human symbols of
    the same file with small letters, as orthologues are.

    Args:
        columns: columns of names of the same genes: symbols, ids.

    Returns:
        `human`, `mouse` or empty for each gene; all empty unless the file has both.
    """
    for names in columns:
        written = [_written(name) for name in names]
        human, mouse = written.count("human"), written.count("mouse")
        if min(human, mouse) < max(_MIXED * len(written), 1):
            continue
        present = set(names)
        symbols = [
            name
            for name, species in zip(names, written, strict=True)
            if species == "mouse" and not name.startswith("ENSMUSG")
        ]
        if sum(name.upper() in present for name in symbols) >= _PAIRED * len(symbols):
            return written
    return [""] * (len(columns[0]) if columns else 0)


@lru_cache(maxsize=2**16)  # the files of a batch have the same genes
def _written(name: str) -> str:
    if _MOUSE.match(name):
        return "mouse"
    if not any(letter.isalpha() for letter in name):
        return ""
    if name == name.upper() or _HUMAN_ORF.match(name):
        return "human"
    return "mouse" if name == name.capitalize() else ""
