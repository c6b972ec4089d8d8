"""Score cells with the torch model, in batches."""

import numpy as np
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellSource
from sctransformer.model import Model


@torch.no_grad()
def score_cells(
    model: Model, cells: CellSource, batch_size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits (cells x classes) and embeddings (cells x embedding) of all cells, in evaluation mode."""
    model.eval()
    logits, embeddings = [], []
    for start in range(0, len(cells), batch_size):
        batch = cells.take(np.arange(start, min(start + batch_size, len(cells))))
        output = model(torch.as_tensor(batch.counts_NG), torch.as_tensor(batch.library_size_N))
        logits.append(output.logits_NC.numpy())
        embeddings.append(output.embedding_NE.numpy())
    return np.concatenate(logits), np.concatenate(embeddings)
