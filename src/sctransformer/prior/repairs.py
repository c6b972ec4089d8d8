"""Record of what was changed while a network was read: counts, and sentences that report them."""

from dataclasses import asdict, dataclass

from sctransformer.wording import NAMED, counted


@dataclass(frozen=True)
class Expansion:
    """A protein complex that was replaced by its members."""

    name: str
    members: tuple[str, ...]
    edges: int
    """Edges that named the complex."""
    expanded: int
    """Edges after the replacement."""


@dataclass(frozen=True)
class Repairs:
    """What was changed while a network was read."""

    format: str = ""
    """Format the file was read as, for example `collectri`."""
    lines: int = 0
    """Edges in the file, before any change."""
    self_edges: int = 0
    """Self-edges dropped: a gene keeps its own value through the residual connection."""
    merged: int = 0
    """Rows merged into an earlier row of the same pair."""
    sign_conflicts: int = 0
    """Pairs listed as both activating and repressing, which took the sign with the greater summed confidence."""
    sign_ties: int = 0
    """Pairs listed as both with equal summed confidences; their sign is unknown (0)."""
    renamed: int = 0
    """Genes renamed from a former symbol."""
    complexes: tuple[Expansion, ...] = ()
    notes: tuple[str, ...] = ()
    """Other messages, as sentences: levels left out, columns not used."""

    def counts(self) -> dict[str, int]:
        """The counts by field name."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int)}

    def sentences(self) -> list[str]:
        """One sentence for each kind of change; empty for a clean file."""
        sentences = list(self.notes)
        for complex_ in self.complexes[:NAMED]:
            sentences.append(
                f"The complex {complex_.name} was replaced by its members {', '.join(complex_.members)}: "
                f"{counted(complex_.edges, 'edge')} became {complex_.expanded:,}."
            )
        if len(self.complexes) > NAMED:
            rest = self.complexes[NAMED:]
            sentences.append(
                f"{len(rest):,} more complexes were replaced by their members: "
                f"{counted(sum(c.edges for c in rest), 'edge')} became {sum(c.expanded for c in rest):,}."
            )
        if self.renamed:
            sentences.append(f"{counted(self.renamed, 'former symbol')} renamed.")
        if self.self_edges:
            sentences.append(f"{counted(self.self_edges, 'self-edge')} dropped.")
        if self.merged:
            sentences.append(f"{counted(self.merged, 'duplicate row')} merged.")
        if self.sign_conflicts:
            sentences.append(
                f"{counted(self.sign_conflicts, 'pair')} with both signs took the sign of the greater confidence."
            )
        if self.sign_ties:
            sentences.append(
                f"{counted(self.sign_ties, 'pair')} with both signs of equal confidence took the sign 0 (unknown)."
            )
        return sentences
