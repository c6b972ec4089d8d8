"""Plots of training and evaluation. Each function writes one PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.evaluation.tsne import tsne
from sctransformer.files import atomic_write

matplotlib.use("Agg")  # no display is needed
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

DPI = 120
MAX_CELLS = 10_000
"""Cells in the plot of the embedding; of more cells a random sample is shown."""


def plot_training_curves(history: pd.DataFrame, target: Path) -> None:
    """Losses and validation scores over epochs, with the chosen epoch marked; pretraining has a panel of its own.

    Args:
        history: one row per epoch, with the fields of `EpochReport` as columns.
        target: the file to write.
    """
    parts = [part for phase in ("pretraining", "supervised") if len(part := history[history["phase"] == phase])]
    figure, panels = plt.subplots(1, len(parts) + 1, figsize=(5 * (len(parts) + 1), 3.6), layout="constrained")
    for axes, part in zip(panels, parts, strict=False):
        axes.plot(part["epoch"], part["train_loss"], label="training")
        axes.plot(part["epoch"], part["val_loss"], label="validation")
        axes.set(xlabel="epoch", ylabel="loss", title=part["phase"].iloc[0])
    last, scores = parts[-1], panels[-1]
    if last["phase"].iloc[0] == "supervised":
        scores.plot(last["epoch"], last["val_macro_f1"], label="macro-F1")
        scores.plot(last["epoch"], last["val_accuracy"], label="accuracy")
        scores.set(xlabel="epoch", ylabel="validation cells", ylim=(0, 1))
    else:
        scores.plot(last["epoch"], last["val_r2"], label="explained variance of hidden genes")
        scores.set(xlabel="epoch", ylabel="validation cells")
    best = last.sort_values(["val_macro_f1", "val_loss"], ascending=[False, True]).iloc[0]
    for axes in panels[-2:]:
        axes.axvline(best["epoch"], color="0.6", linestyle=":", label="chosen epoch")
    for axes in panels:
        axes.legend(frameon=False)
    _save(figure, target)


def plot_risk_coverage(curves: Mapping[str, Sequence[Mapping[str, float]]], threshold: float, target: Path) -> None:
    """Share of wrong labels against the share of cells with a label; the rejection threshold is marked.

    Args:
        curves: curve by name of the cells, see `calibration.risk_coverage`.
        threshold: the rejection threshold.
        target: the file to write.
    """
    figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for name, curve in curves.items():
        (line,) = axes.plot([point["coverage"] for point in curve], [point["risk"] for point in curve], label=name)
        accepted = [point for point in curve if point["threshold"] >= threshold]
        if accepted:
            axes.plot(accepted[-1]["coverage"], accepted[-1]["risk"], "o", color=line.get_color())
    axes.set(xlabel="share of cells with a label", ylabel="share of wrong labels", xlim=(0, 1), ylim=(0, None))
    axes.legend(title=f"threshold {threshold:.3g} marked", frameon=False)
    _save(figure, target)


def plot_confusion_matrix(
    labels_N: NDArray[np.int64], predicted_N: NDArray[np.int64], names: Sequence[str], target: Path
) -> None:
    """Number of cells by true and predicted class; colours are shares of the true class."""
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix  # training curves need no scikit-learn

    size = len(names)
    counts_CC = confusion_matrix(labels_N, predicted_N, labels=range(size))
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    side = 3.5 + 0.45 * size
    figure, axes = plt.subplots(figsize=(side + 1.5, side), layout="constrained")
    display = ConfusionMatrixDisplay(share_CC, display_labels=list(names))
    display.plot(ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1}, text_kw={"fontsize": 8})
    for (row, column), text in np.ndenumerate(display.text_):
        text.set_text(counts_CC[row, column] or "")  # a matrix of zeros is hard to read
    axes.set(xlabel="predicted", ylabel="true", title="test cells")
    plt.setp(axes.get_xticklabels(), rotation=60, ha="right", rotation_mode="anchor")
    figure.colorbar(display.im_, ax=axes, shrink=0.7, label="share of the true class")
    _save(figure, target)


def plot_embedding(embedding_NE: NDArray[np.floating], labels: Sequence[str], seed: int, target: Path) -> None:
    """t-SNE of the cell embedding, coloured by label.

    Of more than MAX_CELLS cells a random sample is shown.

    Args:
        embedding_NE: cell embeddings.
        labels: label of each cell.
        seed: seed of the sample and of t-SNE.
        target: the file to write.
    """
    label_N = np.asarray(labels)
    if len(label_N) > MAX_CELLS:
        shown_N = np.sort(np.random.default_rng(seed).choice(len(label_N), MAX_CELLS, replace=False))
        embedding_NE, label_N = embedding_NE[shown_N], label_N[shown_N]
    coordinates = tsne(embedding_NE, seed)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colours = plt.get_cmap("tab20")
    for index, name in enumerate(sorted(set(labels))):
        members = label_N == name
        axes.scatter(*coordinates[members].T, s=9, color=colours(index % 20), label=f"{name} ({members.sum()})")
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2", xticks=[], yticks=[], title="cell embedding")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})  # equal plots give equal bytes
    plt.close(figure)
