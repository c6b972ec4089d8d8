"""Names of cell types that look wrong: numbers, control characters, one type under several names."""

import re
from collections.abc import Iterable

from sctransformer.wording import counted, some

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_SHOWN = 3


def label_warnings(names: Iterable[str]) -> list[str]:
    """Sentences on names of cell types that look wrong, each with what to do; without a full stop.

    Examples:
        >>> label_warnings(["NK", "B cell", "B  Cell"])
        ["cell types 'B  Cell' and 'B cell' differ only in case or spaces; give them one name if they are one type"]
    """
    names = sorted(set(names))
    found = []
    numbers = [name for name in names if _NUMBER.fullmatch(name)]
    if len(numbers) > len(names) / 2:
        found.append(
            f"{len(numbers)} of {len(names)} cell types are numbers ({some(numbers, _SHOWN)}), like codes of a factor "
            "or of clusters; give the column with the names (--label-column), or replace the numbers by names"
        )
    if odd := [repr(name) for name in names if not name.isprintable()]:
        found.append(
            f"{counted(len(odd), 'cell type')} with a line break, tab or other control character in the name "
            f"({some(odd, _SHOWN)}); it would be in every table and on every screen: replace it"
        )
    same: dict[str, list[str]] = {}
    for name in names:
        same.setdefault(re.sub(r"[\s_]+", "", name).casefold(), []).append(name)
    for group in same.values():
        if len(group) > 1:
            listed = ", ".join(map(repr, group[:-1])) + f" and {group[-1]!r}"
            found.append(f"cell types {listed} differ only in case or spaces; give them one name if they are one type")
    return found
