"""Numbers with their nouns, and lists of names, in messages."""

from collections.abc import Sequence

LONGEST = 60
"""Longer names are cut in messages."""
NAMED = 5
"""Number of names in a list, if not stated otherwise."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    Examples:
        >>> counted(1, "edge"), counted(43178, "edge"), counted(2, "batch", "batches")
        ('1 edge', '43,178 edges', '2 batches')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def some(names: Sequence[str], shown: int = NAMED) -> str:
    """The first names, and how many more there are; long names are cut.

    Examples:
        >>> some(["CD3D", "CD4", "CD8A", "LYZ", "NKG7"], shown=3)
        'CD3D, CD4, CD8A and 2 more'
    """
    named = [f"{name[:LONGEST]}..." if len(name) > LONGEST else name for name in names[:shown]]
    more = len(names) - shown
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")
