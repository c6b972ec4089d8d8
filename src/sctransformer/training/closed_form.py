"""What a model of activities gets without gradient descent, after its attention is trained: embedding and labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sctransformer.data.arrays import CellSource, TrainingCells, take
from sctransformer.model import ActivityTransformer, Model
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.components import principal_components
from sctransformer.training.config import TrainConfig
from sctransformer.training.label_ensemble import LabelFit, Progress, fit_label_map, labelled_rows
from sctransformer.training.label_settings import LabelSettings

if TYPE_CHECKING:
    from sctransformer.training.trainer import Callbacks

_CELLS = 256
"""Cells whose activities are computed at a time."""


def fit_closed_form(
    model: ActivityTransformer,
    cells: TrainingCells,
    class_names: Sequence[str],
    settings: LabelSettings,
    seed: int,
    groups_N: NDArray[Any] | None = None,
    on_progress: Progress = lambda done, total: None,
) -> LabelFit:
    """Set a model's embedding to the principal components of its training cells, and fit its labels.

    Args:
        model: with trained attention; its embedding and labels are replaced.
        cells: training cells, labelled or not; validation cells are not used.
        class_names: the cell types.
        settings: which regressions are candidates.
        seed: seed of the folds.
        groups_N: donor of each labelled training cell; None if they are not known.
        on_progress: called after each fit of a regression.

    Raises:
        UserError: see `fit_label_map`.
    """
    unlabelled = cells.unlabelled
    parts = [cells.training] if unlabelled is None or not len(unlabelled) else [cells.training, unlabelled]
    n_components = max(model.config.embedding, *settings.components) if settings.components else model.config.embedding
    components = principal_components(parts, n_components, seed)
    activity_NR = regulator_activity(model, parts, labelled_rows(parts)) if settings.activities else None
    fit = fit_label_map(
        parts,
        class_names,
        components,
        settings,
        activity_NR=activity_NR,
        groups_N=groups_N,
        seed=seed,
        on_progress=on_progress,
    )
    found, head = fit.label_map, model.classifier
    loading_GM = components.loading_GM[:, : model.config.embedding]
    with torch.no_grad():
        model.components_GE.zero_()
        model.components_GE[:, : loading_GM.shape[1]] = torch.from_numpy(np.ascontiguousarray(loading_GM))
        head.gene_weight_GC.copy_(torch.from_numpy(found.weight_GC.copy()))
        moved_C = (model.tokens.mean_G.cpu().numpy() - found.mean_G) @ found.weight_GC
        head.bias_C.copy_(torch.from_numpy((found.bias_C + moved_C).astype(np.float32)))
        head.activity_weight_RC.zero_()
        if found.weight_RC is not None:
            head.activity_weight_RC.copy_(torch.from_numpy(found.weight_RC.copy()))
    return fit


def train_whole(
    model: Model,
    cells: TrainingCells,
    class_names: Sequence[str],
    config: TrainConfig,
    settings: LabelSettings,
    callbacks: "Callbacks | None" = None,
) -> Checkpoint:
    """Train a model in this process, labels included, whatever its direction.

    Args:
        model: with fresh weights.
        cells: see `Trainer`.
        class_names: the cell types.
        config: optimization.
        settings: labels of a model of activities.
        callbacks: see `Trainer`.

    Returns:
        The last checkpoint of the gradient descent.
    """
    from sctransformer.training.trainer import Trainer  # FSDP takes seconds, which fitting labels does not need

    checkpoint = Trainer(model, cells, config, callbacks=callbacks).fit()
    if isinstance(model, ActivityTransformer):
        fit_closed_form(model, cells, class_names, settings, config.seed)
    return checkpoint


@torch.no_grad()
def regulator_activity(
    model: ActivityTransformer, parts: Sequence[CellSource], rows_N: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Activity of each regulator in some cells, cells x regulators."""
    model.eval()
    activity_NR = np.empty((len(rows_N), model.config.n_regulators), dtype=np.float32)
    for start in range(0, len(rows_N), _CELLS):
        batch = take(parts, rows_N[start : start + _CELLS])
        z_NG = model.tokens.standardised(torch.from_numpy(batch.counts_NG), torch.from_numpy(batch.library_size_N))
        activity_NR[start : start + _CELLS] = model.activity(z_NG).T.numpy()
    return activity_NR
