"""Compare methods by leaving out one donor at a time, on the labelled training cells.

    python -m pipelines.study.held_out_donors pipelines/study/kang.yaml
    python -m pipelines.study.held_out_donors pipelines/study/kang.yaml --only "logistic regression" "point 2"

Linear methods, trees, a kernel method and the model at every point of the study's search (its first arm), with all
labels. If such different methods reach the same score, it is limited by cells and labels, not by the method. A method
is fitted once per donor; the predictions for all donors together give a macro-F1 and an F1 per type. Test cells are not
used. The panel of the model and the means of its genes come from all training cells, with those of the held-out donor;
its labels are not used.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pipelines.study.cells import (
    PanelCells,
    all_genes,
    assign_splits,
    labelled_arrays,
    panel_cells,
    prepare,
    unlabelled_arrays,
)
from pipelines.study.config import StudyConfig, load_study
from pipelines.study.models import train
from sctransformer._constants import OBS
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.prepared import class_names
from sctransformer.data.splits import TRAIN
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.scoring import score_cells
from sctransformer.training.build import build_from_params

SEED = 0
COMPONENTS = 100
"""Number of principal components, for the methods that use them."""
ALL = 100.0
"""Percentage of the training cells that are labelled."""
Method = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.int64]]
"""From masks of training cells and of predicted cells to the predictions."""


def estimators(n_genes: int) -> dict[str, Any]:
    """scikit-learn estimators for log expression, with suitable penalties and sizes."""
    components = min(COMPONENTS, n_genes)
    return {
        "logistic regression": make_pipeline(
            StandardScaler(), LogisticRegression(C=3e-3, class_weight="balanced", max_iter=500)
        ),
        "components, logistic regression": make_pipeline(
            StandardScaler(),
            PCA(components, random_state=SEED),
            LogisticRegression(C=0.03, class_weight="balanced", max_iter=500),
        ),
        "components, kernel": make_pipeline(
            StandardScaler(), PCA(components, random_state=SEED), SVC(C=10.0, class_weight="balanced")
        ),
        "boosted trees": HistGradientBoostingClassifier(
            class_weight="balanced", max_iter=150, max_leaf_nodes=8, random_state=SEED
        ),
        "extremely random trees": ExtraTreesClassifier(
            500, class_weight="balanced", min_samples_leaf=2, random_state=SEED
        ),
    }


def estimator_method(estimator: Any, expression_NG: NDArray[np.float32], labels_N: NDArray[np.int64]) -> Method:
    """A scikit-learn estimator on all genes of the file."""

    def method(training_N: NDArray[np.bool_], held_out_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        fitted = estimator.fit(expression_NG[training_N], labels_N[training_N])
        predicted_N: NDArray[np.int64] = fitted.predict(expression_NG[held_out_N])
        return predicted_N

    return method


def model_method(study: StudyConfig, point: int, prepared: PanelCells, split: pd.Categorical) -> Method:
    """The first arm of the study at a point of its search, on the panel."""
    params, n_classes = study.params_of(next(iter(study.arms)), point), len(class_names(prepared.cells))

    def method(training_N: NDArray[np.bool_], held_out_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        model = build_from_params(params, prepared.panel, prepared.network, n_classes, SEED)
        training, scored = (labelled_arrays(prepared.cells, rows_N) for rows_N in (training_N, held_out_N))
        unlabelled = unlabelled_arrays(prepared, split, except_N=training_N | held_out_N)
        train(model, training, unlabelled, params.train_config(SEED))
        return score_cells(model, scored)[0].argmax(axis=1)

    return method


def all_methods(study: StudyConfig, out: Path) -> tuple[dict[str, Method], pd.DataFrame, NDArray[np.bool_]]:
    """All methods by name, the table of the cells, and the mask of labelled training cells."""
    sources = prepare(study, [SEED], out)
    whole, prepared = all_genes(sources.cells), panel_cells(sources.cells, sources.panels[SEED])
    split = assign_splits(study, whole.obs, ALL, SEED)
    known = labelled_arrays(whole, np.ones(whole.n_obs, dtype=bool))
    expression_NG = log1p_cp10k(known.counts_NG, known.library_size_N)
    methods = {
        name: estimator_method(estimator, expression_NG, known.labels_N)
        for name, estimator in estimators(known.n_genes).items()
    }
    methods |= {
        f"model, point {point}": model_method(study, point, prepared, split) for point in range(len(study.search))
    }
    return methods, whole.obs, np.asarray(split == TRAIN)


def predict_held_out_donors(
    method: Method, donors_N: NDArray[np.str_], labelled_N: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Prediction for each labelled cell, in order, by a method fitted on the cells of all other donors."""
    rows = np.flatnonzero(labelled_N)
    predicted_N = np.empty(len(rows), dtype=np.int64)
    for others, own in LeaveOneGroupOut().split(rows, groups=donors_N[rows]):
        training_N, held_out_N = np.zeros((2, len(labelled_N)), dtype=bool)
        training_N[rows[others]] = held_out_N[rows[own]] = True
        predicted_N[own] = method(training_N, held_out_N)
    return predicted_N


def main(words: Sequence[str] | None = None) -> None:
    """Fit the methods and print a table, one line per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="YAML file of a study whose cells have donors")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="methods whose name contains one of these"
    )
    parser.add_argument("--out", type=Path, help="folder of the prepared cells; default: outputs/study/NAME/prepared")
    options = parser.parse_args(words)
    study = load_study(options.study)
    if study.dataset.donor_column is None:
        raise UserError(f"{options.study}: dataset.donor_column is not set, so no donor can be held out; set it.")
    methods, obs, labelled_N = all_methods(study, options.out or Path("outputs/study") / study.name / "prepared")
    chosen = {
        name: method
        for name, method in methods.items()
        if not options.only or any(word in name for word in options.only)
    }
    if not chosen:
        raise UserError(f"--only {' '.join(options.only)}: no such method; choose from {', '.join(methods)}.")
    donors_N, types = np.asarray(obs[OBS.donor], dtype=str), obs[OBS.cell_type].cat.categories.tolist()
    labels_N = obs.loc[labelled_N, OBS.cell_type].cat.codes.to_numpy()
    rows = {}
    for name in track(chosen, "methods", console=Console(stderr=True)):
        predicted_N = predict_held_out_donors(chosen[name], donors_N, labelled_N)
        f1_C = f1_score(labels_N, predicted_N, average=None, labels=range(len(types)), zero_division=0.0)
        rows[name] = [f1_C.mean(), accuracy_score(labels_N, predicted_N), *f1_C]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["macro-F1", "accuracy", *types])
    print(f"{labelled_N.sum()} cells of {len(set(donors_N[labelled_N]))} donors, each donor held out in turn")
    print(table.round(3).to_string())


if __name__ == "__main__":
    run_reporting(main)
