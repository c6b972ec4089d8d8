"""Cells as plain numpy arrays: the form in which training and evaluation see them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CellArrays:
    """Labelled cells over the genes of the panel."""

    counts_NG: NDArray[np.float32]
    """Raw counts, cells x genes of the panel."""
    library_size_N: NDArray[np.float32]
    """Counts of the whole cell."""
    labels_N: NDArray[np.int64]
    """Index of each cell's type in the label list."""

    def __post_init__(self) -> None:
        n_cells = len(self.counts_NG)
        if len(self.library_size_N) != n_cells or len(self.labels_N) != n_cells:
            raise ValueError(
                f"{n_cells} cells do not match {len(self.library_size_N)} library sizes and {len(self.labels_N)} labels"
            )

    def __len__(self) -> int:
        return len(self.counts_NG)
