"""Score cells with the torch model, in batches."""

import numpy as np
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays
from sctransformer.model import PriorBiasedTransformer


@torch.no_grad()
def score_cells(
    model: PriorBiasedTransformer, cells: CellArrays, batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (cells x classes) and embeddings (cells x embedding) of all cells, in evaluation mode."""
    model.eval()
    logits, embeddings = [], []
    for start in range(0, len(cells), batch_size):
        rows = slice(start, start + batch_size)
        output = model(torch.as_tensor(cells.counts_NG[rows]), torch.as_tensor(cells.library_size_N[rows]))
        logits.append(output.logits_NC.numpy())
        embeddings.append(output.embedding_NE.numpy())
    return np.concatenate(logits), np.concatenate(embeddings)
