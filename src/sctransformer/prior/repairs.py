"""What was put right while a network was read: counts, and the sentences that say so."""

from dataclasses import asdict, dataclass

SHOWN = 5
"""Complexes named in a sentence."""


@dataclass(frozen=True)
class Expansion:
    """A complex that became its members."""

    name: str
    members: tuple[str, ...]
    edges: int
    """Edges that named the complex."""
    expanded: int
    """Edges that they became."""


@dataclass(frozen=True)
class Repairs:
    """The record of one reading."""

    format: str = ""
    """How the file was understood, for example `collectri`."""
    lines: int = 0
    """Edges as they stood in the file, before anything was put right."""
    self_edges: int = 0
    """Dropped: a gene keeps itself through the residual path."""
    merged: int = 0
    """Further lines of a pair that stood before."""
    sign_conflicts: int = 0
    """Pairs named both activating and repressing; those that took the sign of the greater summed confidence."""
    sign_ties: int = 0
    """As `sign_conflicts`, but the confidences were even: the sign is not known."""
    renamed: int = 0
    """Genes that went by a former symbol."""
    complexes: tuple[Expansion, ...] = ()
    notes: tuple[str, ...] = ()
    """What else a person should know, in sentences: levels left out, columns not used."""

    def counts(self) -> dict[str, int]:
        """The numbers alone, by name."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}

    def sentences(self) -> list[str]:
        """One plain sentence for each kind of repair; none for a clean file."""
        said = list(self.notes)
        for complex_ in self.complexes[:SHOWN]:
            said.append(
                f"The complex {complex_.name} became its members {', '.join(complex_.members)}: "
                f"{counted(complex_.edges, 'edge')} became {complex_.expanded:,}."
            )
        if len(self.complexes) > SHOWN:
            rest = self.complexes[SHOWN:]
            said.append(
                f"{len(rest):,} more complexes became their members: {counted(sum(c.edges for c in rest), 'edge')} "
                f"became {sum(c.expanded for c in rest):,}."
            )
        if self.renamed:
            said.append(f"{counted(self.renamed, 'former symbol')} renamed.")
        if self.self_edges:
            said.append(f"{counted(self.self_edges, 'self-edge')} dropped: a gene keeps itself without an edge.")
        if self.merged:
            said.append(f"{counted(self.merged, 'line')} merged into an earlier line of the same pair.")
        if self.sign_conflicts:
            said.append(f"{counted(self.sign_conflicts, 'pair')} in conflict took the sign of the greater confidence.")
        if self.sign_ties:
            said.append(f"{counted(self.sign_ties, 'pair')} with evenly matched signs took the sign 0 (not known).")
        return said


def counted(number: int, noun: str) -> str:
    """`1 edge`, `43,178 edges`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
