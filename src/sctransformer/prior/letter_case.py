"""Genes of a network whose names match human symbols only when letter case is ignored."""

from collections.abc import Collection

from sctransformer.prior.network import Network
from sctransformer.wording import NAMED


def letter_case_warning(network: Network, known: Collection[str]) -> str | None:
    """Report regulators and targets in another letter case than the human symbols; their edges would not be used.

    Args:
        network: any network.
        known: human symbols, former ones included.

    Returns:
        A sentence, or None if there are no such genes.
    """
    symbol_of = {symbol.upper(): symbol for symbol in known}
    parts, examples = [], dict[str, str]()
    for what, genes in (("regulators", network.regulators), ("targets", sorted(set(network.edges["target"])))):
        wrong = [gene for gene in genes if gene not in known and gene.upper() in symbol_of]
        if wrong:
            parts.append(f"{len(wrong):,} of {len(genes):,} {what}")
            examples |= {gene: symbol_of[gene.upper()] for gene in wrong[:NAMED]}
    if not parts:
        return None
    some = ", ".join(f"{gene} for {symbol}" for gene, symbol in list(examples.items())[:NAMED])
    return (
        f"{' and '.join(parts)} are human symbols only when letter case is ignored ({some}), as mouse symbols are; "
        "genes are matched exactly, so their edges are not used with human cells: correct the letter case if they are "
        "human genes, or map mouse genes to human orthologues, and build again"
    )
