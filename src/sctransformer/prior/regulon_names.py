"""Names of regulons, such as `SPI1(+)`: the regulator, and the sign of its edges."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.prior.tables import Table, is_symbol
from sctransformer.wording import counted, some

_COUNT = re.compile(r"[ _]?\(\d+[gr]\)$")
"""Number of genes or regions: `Irf1_extended (108g)` of SCENIC, `SPI1_+_+_(120g)` of SCENIC+."""
_EVIDENCE = re.compile(r"[-_ ](?:motifs?|tracks?|cistrome)$", re.IGNORECASE)
_KIND = re.compile(r"_(?:extended|direct)$")
_SIGN = re.compile(r"[ _]?\(([+-])\)$|_([+-])(?:[_/][+-])?$")
"""`SPI1(+)` of pySCENIC; `SPI1_+_+` and `SPI1_+/+` of SCENIC+, whose second sign is that of the chromatin."""


def regulon_name(name: str) -> tuple[str, int]:
    """Regulator and sign from the name of a regulon of SCENIC, pySCENIC or SCENIC+.

    Returns:
        The regulator without endings, and 1 (activates), -1 (represses) or 0 (the name has no sign).

    Examples:
        >>> regulon_name("SPI1(+)"), regulon_name("SPI1_-_+"), regulon_name("SPI1")
        (('SPI1', 1), ('SPI1', -1), ('SPI1', 0))
    """
    bare = _KIND.sub("", _EVIDENCE.sub("", _COUNT.sub("", name.strip())))
    found = _SIGN.search(bare)
    if found is None:
        return bare, 0
    return _KIND.sub("", bare[: found.start()]), 1 if "+" in (found[1], found[2]) else -1


class Regulators(NamedTuple):
    """A column of regulators, one per row of a table."""

    genes: pd.Series
    """Regulators without the endings of regulons."""
    sign_of_name: NDArray[np.int8]
    """The sign in the regulon's name; 0 if it has none."""
    changed: list[str]
    """The names of regulons, each once."""

    def signs(self, given: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.int8], tuple[str, ...]]:
        """Sign of each row, and notes.

        A pair with both signs (a target of `SPI1(+)` and of `SPI1(-)`) is merged later, see `merge_pairs`.

        Args:
            given: sign of each row by the other columns; a sign in the name replaces it.
        """
        named, own = self.sign_of_name, np.asarray(given, dtype=np.int8)
        if not self.changed:
            return own, ()
        notes = [
            f"{counted(len(self.changed), 'regulon name')} read as regulator and sign of its edges "
            f"({some(self.changed)})."
        ]
        against = int(((named != 0) & (own != 0) & (named != own)).sum())
        if against:
            notes.append(
                f"{counted(against, 'row')} took the sign of the regulon's name, which differs from its column."
            )
        return np.where(named != 0, named, own).astype(np.int8), tuple(notes)


def read_regulators(table: Table, column: str) -> Regulators:
    """Read a column of regulators, which may be named as regulons.

    Raises:
        UserError: a regulator is empty, or contains a space or an unprintable character.
    """
    values = table.column(column)
    codes, unique = pd.factorize(values, use_na_sentinel=False)
    read = [regulon_name(str(name)) for name in unique]
    bad = np.array([not is_symbol(gene) for gene, _ in read], dtype=bool)
    table.refuse(bad[codes], column, values, "a gene symbol")
    genes = pd.Series(np.array([gene for gene, _ in read], dtype=object)[codes], dtype=object)
    sign_of_name = np.array([sign for _, sign in read], dtype=np.int8)[codes]
    return Regulators(genes, sign_of_name, [name for name, (gene, _) in zip(unique, read, strict=True) if gene != name])
