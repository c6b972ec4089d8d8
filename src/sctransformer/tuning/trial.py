"""One trial: the bare loop over the prepared cells, in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import class_names, load_training_cells
from sctransformer.params import Params, with_values
from sctransformer.prior.network import read_network_table
from sctransformer.training.build import new_model, train_config
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.loop import fit
from sctransformer.training.report import EpochReport
from sctransformer.training.run_folder import RunFolder
from sctransformer.tuning.search import TIME, Report


def run_trial(
    values: dict[str, Any], report: Report, params: Params, files: Mapping[str, Path], shared_in: RunFolder | None
) -> None:
    """Train with some parameters set, and report each epoch of classification.

    Args:
        values: by dotted name.
        report: see `training.search`.
        params: all others.
        files: `cells`, `panel` and `network`, by absolute path.
        shared_in: where they were put for other machines; None if trials run on the one that has them.
    """
    if shared_in is not None:
        files = shared_in.shared(files)
    torch.set_num_threads(1)
    chosen = with_values(params, values)
    cells = load_training_cells(files["cells"])
    n_classes = len(class_names(read_cells(files["cells"])))
    network = read_network_table(files["network"], chosen.prior.confidence)
    model = new_model(pd.read_parquet(files["panel"]), network, chosen, n_classes, chosen.seed)

    def on_epoch(epoch: EpochReport, state: Checkpoint) -> None:
        if epoch.phase == "supervised":
            figures = {name: value for name, value in epoch.metrics().items() if name.startswith(("val_", "train_"))}
            report(figures | {TIME: epoch.epoch - chosen.train.pretrain_epochs + 1})

    fit(
        model,
        cells.training,
        cells.validation,
        train_config(chosen, chosen.seed),
        on_epoch,
        unlabelled=cells.unlabelled,
    )
