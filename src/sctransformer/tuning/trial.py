"""One trial of a search: training on the prepared cells, without Ray Train, in its own process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import class_names, load_training_cells
from sctransformer.evaluation.scoring import score_cells
from sctransformer.model import ActivityTransformer
from sctransformer.params import Params, with_values
from sctransformer.prior.network import read_network_table
from sctransformer.training.build import build_from_params
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.closed_form import train_whole
from sctransformer.training.report import EpochReport
from sctransformer.training.run_folder import RunFolder
from sctransformer.training.scores import accuracy_and_macro_f1
from sctransformer.training.trainer import Callbacks
from sctransformer.tuning.search import EPOCH, Report


def run_trial(
    values: dict[str, Any], report: Report, params: Params, files: Mapping[str, Path], shared_folder: RunFolder | None
) -> None:
    """Train with the values of a trial and report each epoch of classification.

    Args:
        values: searched parameters, by dotted name.
        report: see `sctransformer.tuning.search`.
        params: all other parameters.
        files: `cells`, `panel` and `network`, absolute paths on the machine that runs the search.
        shared_folder: folder to which `files` were uploaded; None if trials run on that machine.
    """
    if shared_folder is not None:
        files = shared_folder.fetch_inputs(files)
    torch.set_num_threads(1)
    params = with_values(params, values)
    cells = load_training_cells(files["cells"])
    n_classes = len(class_names(read_cells(files["cells"])))
    network = read_network_table(files["network"], params.prior.confidence)
    model = build_from_params(params, pd.read_parquet(files["panel"]), network, n_classes, params.seed)

    def on_epoch_end(epoch: EpochReport, checkpoint: Checkpoint) -> None:
        if epoch.phase == "supervised":
            metrics = {name: value for name, value in epoch.metrics().items() if name.startswith(("val_", "train_"))}
            report(metrics | {EPOCH: epoch.epoch - params.train_config().pretrain_epochs + 1})

    config = params.train_config()
    names = [str(index) for index in range(n_classes)]
    checkpoint = train_whole(model, cells, names, config, params.labels, Callbacks(on_epoch_end))
    if isinstance(model, ActivityTransformer):  # its labels are fitted once, at the end
        assert cells.validation is not None
        labels_N = cells.validation.labels_N
        logits_NC, _ = score_cells(model, cells.validation)
        accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, logits_NC.argmax(axis=1), n_classes)
        loss = float(checkpoint.history[-1]["train_loss"])
        report({"val_macro_f1": macro_f1, "val_accuracy": accuracy, "train_loss": loss, EPOCH: 1})
