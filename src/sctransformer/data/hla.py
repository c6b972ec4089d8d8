"""Cells of another species by the genes that they lack: HLA genes, beside genes that every mammal has with them.

Genes of mouse are often named by human symbols: in capitals, or by orthologues. No mouse gene has the name of an HLA
gene. Human cells with B2M have HLA class I, of which B2M is a part, and those with CD74 have class II, which it binds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.species import Species

_IDS = {
    "ENSG00000206503": "HLA-A", "ENSG00000234745": "HLA-B", "ENSG00000204525": "HLA-C", "ENSG00000204287": "HLA-DRA",
    "ENSG00000196126": "HLA-DRB1", "ENSG00000231389": "HLA-DPA1", "ENSG00000223865": "HLA-DPB1",
    "ENSG00000166710": "B2M", "ENSG00000019582": "CD74",
}  # fmt: skip
_CLASSES = (("B2M", ("HLA-A", "HLA-B", "HLA-C")), ("CD74", ("HLA-D",)))
"""A gene, and how the names of the HLA genes that accompany it start."""
_FEWEST_GENES = 2
"""Number of HLA genes of a class that must be measured."""
_COUNTS = 10
"""Counts of B2M or CD74 from which a human cell has a count of an HLA gene."""
_SHARE, _FEWEST_CELLS = 0.01, 5
"""Fraction and number of cells with such counts that lack HLA genes, from which a file has cells of another species.
It is at most 0.0011 in six public files of human blood and lung cells (`pipelines/robustness/README.md`)."""
NEARLY_ALL = 0.9


@dataclass(frozen=True)
class HlaGenes:
    """Columns of a file with HLA genes and with the genes that accompany them. F: columns of the file."""

    hla_F: NDArray[np.int64]
    partners: tuple[NDArray[np.int64], ...]
    """Columns of each accompanying gene whose HLA genes are measured."""

    @classmethod
    def of(cls, genes: Sequence[str], species: Species) -> Self | None:
        """The columns; None if the model is not for human cells, or the file does not allow a judgement.

        Args:
            genes: symbols or Ensembl ids of the columns.
            species: the species of the model.
        """
        if species != "human":
            return None
        names = [_IDS.get(str(gene).partition(".")[0], str(gene)) for gene in genes]
        hla = [column for column, name in enumerate(names) if name.startswith("HLA-")]
        partners = []
        for partner, starts in _CLASSES:
            columns = [column for column, name in enumerate(names) if name == partner]
            if columns and sum(names[column].startswith(starts) for column in hla) >= _FEWEST_GENES:
                partners.append(np.array(columns, dtype=np.int64))
        return cls(np.array(hla, dtype=np.int64), tuple(partners)) if partners else None

    def without(self, counts_NF: sparse.csr_matrix) -> NDArray[np.bool_]:
        """Cells without a count of any HLA gene."""
        return np.asarray(counts_NF[:, self.hla_F].sum(axis=1)).ravel() == 0

    def expected(self, counts_NF: sparse.csr_matrix) -> NDArray[np.bool_]:
        """Cells that would have a count of an HLA gene if they were human."""
        found_N = np.zeros(counts_NF.shape[0], dtype=bool)
        for columns in self.partners:
            found_N |= np.asarray(counts_NF[:, columns].sum(axis=1)).ravel() >= _COUNTS
        return found_N


def foreign_share(expected: int, without: int) -> float | None:
    """Fraction of cells that are of another species; None if there are not enough to tell.

    Args:
        expected: number of cells that would have a count of an HLA gene.
        without: number of those that have none.
    """
    if without < max(_FEWEST_CELLS, _SHARE * expected):
        return None
    return without / expected
