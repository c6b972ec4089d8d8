"""The species of genes by how they are written: human symbols in capitals, mouse symbols with one capital."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import pandas as pd

from sctransformer.errors import UserError
from sctransformer.wording import some

Species = Literal["human", "mouse"]

STATED = ("organism", "organism_ontology_term_id", "species")
"""Columns of obs that state the species of cells, in CELLxGENE's schema and elsewhere."""
_SPECIES_BY_NAME: dict[str, Species] = {
    **dict.fromkeys(("human", "homo sapiens", "homo_sapiens", "h. sapiens", "ncbitaxon:9606", "9606"), "human"),
    **dict.fromkeys(("mouse", "mus musculus", "mus_musculus", "m. musculus", "ncbitaxon:10090", "10090"), "mouse"),
}
_MIXED = 0.1
"""Fraction of a file's genes that each of two species has at least, in a file of both."""
_PAIRED = 0.2
"""Fraction of the mouse symbols of a file of both species that are human symbols of the file in capitals."""
_HUMAN_ORF = re.compile(r"^C[0-9XY]+orf\d")  # human symbols with small letters: C1orf112
_MOUSE_ALONE = re.compile(
    r"^(?:H2-[A-Z]+\d*|GM\d{3,5}|\d{7}[A-Z]\d\dRIK|FTL1|LYZ[12]|LY6[AC][12]?|IFI27L2A|CCL6|CCL9|RETNLG|NGP|MS4A4B)$"
)
"""Symbols of mouse genes in capitals that are no symbols of human genes."""
_FEWEST_ALONE = 3
_MOUSE = re.compile(r"^(?:ENSMUSG\d|mt-[A-Z]|[0-9A-Z]+Rik\d*$)")


def species_of(genes: Iterable[str]) -> Species:
    """The species that most gene names are written for."""
    names = [name for name in map(str, genes) if any(letter.isalpha() for letter in name)]
    mouse = sum(name.startswith("ENSMUSG") or name == name.capitalize() != name.upper() for name in names)
    return "mouse" if 2 * mouse > len(names) else "human"


def require_species(obs: pd.DataFrame, species: Species, source: str) -> None:
    """Check that no column of obs states another species.

    Genes of mouse are often named by their human symbols, so that names alone do not tell.

    Args:
        obs: the cells; the columns of STATED are read, whatever their letter case.
        species: the species of the model.
        source: name of the cells in errors.

    Raises:
        UserError: some cells are of another species.
    """
    for column in obs.columns:
        if str(column).lower() not in STATED:
            continue
        values = obs[column].astype("string").fillna("").str.strip().str.lower()
        stated = values.map(_SPECIES_BY_NAME)
        other_N = (stated.notna() & (stated != species)).to_numpy(dtype=bool)
        if other_N.any():
            raise UserError(
                f"{source}: obs[{str(column)!r}] is {obs[column][other_N].iloc[0]!r} for {int(other_N.sum()):,} of "
                f"{len(obs):,} cells, and the model is for {species} cells; give a file without these cells."
            )


def require_species_of_names(genes: Iterable[str], species: Species, source: str) -> None:
    """Check that a file for a human model does not have the genes of a mouse in capitals, and no HLA gene.

    Raises:
        UserError: it does.
    """
    if species != "human":
        return
    names = list(map(str, genes))
    alone = [name for name in names if _MOUSE_ALONE.match(name)]
    if len(alone) >= _FEWEST_ALONE and not any(name.startswith("HLA-") for name in names):
        raise UserError(
            f"{source}: gene names include {some(alone, 3)}, which only mice have, and no HLA gene: these are mouse "
            "genes in capitals, and the model is for human cells; use a model of the file's species."
        )


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
