"""How far any method comes: the labelled training cells, each donor labelled by a method that never saw it.

    python -m pipelines.study.held_out_donors pipelines/study/kang.yaml
    python -m pipelines.study.held_out_donors pipelines/study/kang.yaml --only "logistic regression" "point 2"

Test cells take no part. Linear methods, trees, a kernel and the model at every point of the study's search (its first
arm), with all labels: where such different methods end at one figure, cells and labels set it, not the method. A method
is fitted once a donor; the labels of all donors together give one macro-F1, and one F1 a type. The model's panel and
the means of its genes are those of all training cells, the donor's own included; no label of theirs is.
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

from pipelines.study.cells import PanelCells, all_genes, labelled_arrays, panel_cells, prepare, sides, unlabelled_arrays
from pipelines.study.config import StudyConfig, load_study
from pipelines.study.models import train
from sctransformer._constants import OBS
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.prepared import class_names
from sctransformer.data.splits import TRAIN
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.scoring import score_cells
from sctransformer.training.build import build_from_params
from sctransformer.training.config import TrainConfig

SEED = 0
COMPONENTS = 100
"""Principal components, for the methods that do not take genes."""
ALL = 100.0
"""Percent of the training cells that keep their label."""
Method = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.int64]]
"""From which cells are trained on, and which are labelled, to the labels of the latter."""


def estimators(n_genes: int) -> dict[str, Any]:
    """Methods of scikit-learn over log expression; penalties and sizes at which each does well here."""
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


def of_estimator(estimator: Any, expression_NG: NDArray[np.float32], labels_N: NDArray[np.int64]) -> Method:
    """A method of scikit-learn, over all genes of the file."""

    def method(training_N: NDArray[np.bool_], scored_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        fitted = estimator.fit(expression_NG[training_N], labels_N[training_N])
        said_N: NDArray[np.int64] = fitted.predict(expression_NG[scored_N])
        return said_N

    return method


def of_model(study: StudyConfig, point: int, prepared: PanelCells, split: pd.Categorical) -> Method:
    """The study's first arm at a point of its search, over the panel."""
    params, n_classes = study.params_of(next(iter(study.arms)), point), len(class_names(prepared.cells))

    def method(training_N: NDArray[np.bool_], scored_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        model = build_from_params(params, prepared.panel, prepared.network, n_classes, SEED)
        training, scored = (labelled_arrays(prepared.cells, rows_N) for rows_N in (training_N, scored_N))
        unlabelled = unlabelled_arrays(prepared, split, but_N=training_N | scored_N)
        train(model, training, unlabelled, params.train.part(TrainConfig, seed=SEED))
        return score_cells(model, scored)[0].argmax(axis=1)

    return method


def methods_of(study: StudyConfig, out: Path) -> tuple[dict[str, Method], pd.DataFrame, NDArray[np.bool_]]:
    """All methods by name; what is known of the cells; and which of them are labelled training cells."""
    sources = prepare(study, [SEED], out)
    whole, prepared = all_genes(sources.cells), panel_cells(sources.cells, sources.panels[SEED])
    split = sides(study, whole.obs, ALL, SEED)
    known = labelled_arrays(whole, np.ones(whole.n_obs, dtype=bool))
    expression_NG = log1p_cp10k(known.counts_NG, known.library_size_N)
    methods = {
        name: of_estimator(estimator, expression_NG, known.labels_N)
        for name, estimator in estimators(known.n_genes).items()
    }
    methods |= {f"model, point {point}": of_model(study, point, prepared, split) for point in range(len(study.search))}
    return methods, whole.obs, np.asarray(split == TRAIN)


def label_every_donor(method: Method, donors_N: NDArray[np.str_], labelled_N: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The label of each labelled cell, in order, by a method that was fitted on the cells of all other donors."""
    rows = np.flatnonzero(labelled_N)
    said_N = np.empty(len(rows), dtype=np.int64)
    for others, own in LeaveOneGroupOut().split(rows, groups=donors_N[rows]):
        training_N, scored_N = np.zeros((2, len(labelled_N)), dtype=bool)
        training_N[rows[others]] = scored_N[rows[own]] = True
        said_N[own] = method(training_N, scored_N)
    return said_N


def main(words: Sequence[str] | None = None) -> None:
    """Fit, and print a line a method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="YAML file of a study whose cells have donors")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="methods whose name has one of these")
    parser.add_argument("--out", type=Path, help="where cells are prepared; default: outputs/study/NAME/prepared")
    options = parser.parse_args(words)
    study = load_study(options.study)
    if study.dataset.donor_column is None:
        raise UserError(f"{options.study}: dataset has no donor_column, so no donor can be held out; name the column.")
    methods, obs, labelled_N = methods_of(study, options.out or Path("outputs/study") / study.name / "prepared")
    chosen = {
        name: method
        for name, method in methods.items()
        if not options.only or any(word in name for word in options.only)
    }
    if not chosen:
        raise UserError(f"--only {' '.join(options.only)}: no such method; there are {', '.join(methods)}.")
    donors_N, types = np.asarray(obs[OBS.donor], dtype=str), obs[OBS.cell_type].cat.categories.tolist()
    labels_N = obs.loc[labelled_N, OBS.cell_type].cat.codes.to_numpy()
    rows = {}
    for name in track(chosen, "methods", console=Console(stderr=True)):
        said_N = label_every_donor(chosen[name], donors_N, labelled_N)
        f1_C = f1_score(labels_N, said_N, average=None, labels=range(len(types)), zero_division=0.0)
        rows[name] = [f1_C.mean(), accuracy_score(labels_N, said_N), *f1_C]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["macro-F1", "accuracy", *types])
    print(f"{labelled_N.sum()} cells of {len(set(donors_N[labelled_N]))} donors, each labelled without its own")
    print(table.round(3).to_string())


if __name__ == "__main__":
    run_reporting(main)
