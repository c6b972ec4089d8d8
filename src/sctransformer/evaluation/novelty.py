"""Fitting of the novelty score: statistics of training cells, weights, scales and thresholds on validation cells."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import average_counts, log1p_cp10k
from sctransformer.errors import UserError
from sctransformer.evaluation.novelty_score import PARTS, NoveltyScore, NoveltyStatistics
from sctransformer.files import atomic_write

Probabilities = Callable[[CellArrays], NDArray[np.floating]]
"""Calibrated probabilities of cells, cells x classes."""

MOST_GENES = 2048
"""The score reads the genes with the largest variance: the many genes that few cells express add noise."""
MOST_COMPONENTS = 50
LEAST_SEEN = 1e-6
"""Smallest fraction of a class's cells in which a gene is seen, before the logarithm."""
PRIOR_CELLS = 2.0
"""The fraction in a class is shrunk to the fraction in all cells, with the weight of this number of cells."""
DIAGONAL = 0.1
"""Weight of the diagonal in the pooled covariance within classes."""
LEAST_DEVIATION = 1e-2
"""Smallest standard deviation by which a gene is divided."""
MEASURED = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Fractions of the panel's genes for which a threshold is fitted."""
MASKS = 3
"""Random choices of the measured genes for each fraction."""
MOST_CELLS, MOST_FOR_WEIGHTS = 16_384, 4096
"""Training cells for statistics and for the choice of weights, sampled by seed: it bounds time and memory."""
MASKED_CELLS = 512
"""Validation cells that are scored for each choice of genes."""
DEFAULT_WEIGHTS = (0.5, 1.0, 0.3)
CANDIDATES = tuple(
    (surprise, distance, unsure)
    for surprise in (0.0, 0.5, 1.0)
    for distance in (0.5, 1.0)
    for unsure in (0.0, 0.1, 0.3, 1.0)
)
"""Weights of the parts that are compared on training cells."""
FEWEST_CELLS, FEWEST_TYPES = 20, 3
"""Types with fewer cells are not left out; with fewer types the weights are the default ones."""


@dataclass(frozen=True)
class Novelty:
    """The fitted score and its threshold."""

    score: NoveltyScore
    content: dict[str, Any]
    """`novelty` in calibration.json: share, weights, thresholds by fraction of measured genes, AUROC of types that were
    left out of the training cells."""

    @property
    def threshold(self) -> float:
        """Novelty above which a cell is `unknown`, if all genes are measured."""
        return float(self.content["thresholds"][0]["threshold"])


def fit_novelty(
    training: CellArrays, validation: CellArrays, probabilities: Probabilities, withheld: float, seed: int
) -> Novelty:
    """Fit the score on training cells, and its scales and thresholds on validation cells.

    Args:
        training, validation: labelled cells; class indices of both are 0 to C - 1.
        probabilities: of the model.
        withheld: fraction of the validation cells above the threshold.
        seed: random seed for samples of cells and genes.
    """
    rng = np.random.default_rng((seed, len(training)))
    weights, left_out = choose_weights(training, rng)
    statistics = novelty_statistics(training, rng)
    validation_NC = probabilities(validation)
    score = scaled(statistics, weights, validation, validation_NC)
    novelty_N = novelty_of(score, validation, validation_NC)
    content = {
        "withheld_share": withheld,
        "weights": dict(zip(PARTS, weights, strict=True)),
        "auroc_left_out": left_out,
        "thresholds": [
            {"measured": MEASURED[0], "threshold": quantile_above(novelty_N, withheld)},
            *fit_thresholds(score, validation, probabilities, withheld, rng),
        ],
    }
    return Novelty(score, content)


def novelty_statistics(training: CellArrays, rng: np.random.Generator) -> NoveltyStatistics:
    """Statistics of labelled training cells for the parts of the score."""
    cells = sample_of(training, MOST_CELLS, rng)
    labels_N, n_classes = cells.labels_N, int(cells.labels_N.max()) + 1
    expression_NG = log1p_cp10k(cells.counts_NG, cells.library_size_N).astype(np.float32)
    cells_C = np.maximum(np.bincount(labels_N, minlength=n_classes), 1)
    member_CN = np.zeros((n_classes, len(labels_N)), dtype=np.float32)
    member_CN[labels_N, np.arange(len(labels_N))] = 1.0
    mean_CG, mean_G = member_CN @ expression_NG / cells_C[:, None], expression_NG.mean(axis=0)
    deviation_G = expression_NG.std(axis=0)
    used_G = np.zeros(cells.n_genes, dtype=bool)
    used_G[np.argsort(-deviation_G, kind="stable")[:MOST_GENES]] = True

    seen_NG = (cells.counts_NG > 0).astype(np.float32)
    share_CG = (member_CN @ seen_NG + PRIOR_CELLS * seen_NG.mean(axis=0)) / (cells_C[:, None] + PRIOR_CELLS)
    surprise_GC = np.where(used_G, -np.log(np.maximum(share_CG, LEAST_SEEN)), 0.0).T
    within_NG = expression_NG[:, used_G] - mean_CG[labels_N][:, used_G]
    scale_G = 1.0 / np.maximum(deviation_G[used_G], LEAST_DEVIATION)
    loading_MG = _components((expression_NG[:, used_G] - mean_G[used_G]) * scale_G)
    within_NM = (within_NG * scale_G) @ loading_MG.T
    covariance_MM = within_NM.T @ within_NM / max(len(labels_N) - n_classes, 1)
    shrunk_MM = (1 - DIAGONAL) * covariance_MM + np.diag(DIAGONAL * np.diag(covariance_MM) + 1e-8)
    projection_GM = np.zeros((cells.n_genes, len(loading_MG)), dtype=np.float32)
    projection_GM[used_G] = np.linalg.solve(np.linalg.cholesky(shrunk_MM), loading_MG * scale_G).T
    found = (used_G, surprise_GC, projection_GM, mean_G, mean_CG - mean_G)
    return NoveltyStatistics(*(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)) for values in found))


def _components(standard_NG: NDArray[np.float32]) -> NDArray[np.float32]:
    """Principal components with more variance than noise has, at least one: components x genes.

    Noise of N cells and G genes has eigenvalues up to `(1 + sqrt(G / N))**2` times its variance (Marchenko and Pastur
    1967, https://doi.org/10.1070/SM1967v001n04ABEH001994). Components below fit the training cells only: these would
    look more novel than others of their kind.
    """
    from sklearn.utils.extmath import randomized_svd  # here and below: who reads a fitted score needs no scikit-learn

    n_cells, n_genes = standard_NG.shape
    _, singular_M, loading_MG = randomized_svd(
        standard_NG, max(1, min(MOST_COMPONENTS, n_cells - 1, n_genes - 1)), random_state=0
    )
    noise = float(np.square(standard_NG).mean()) * (1 + (n_genes / n_cells) ** 0.5) ** 2
    kept = max(1, int((singular_M**2 / n_cells > noise).sum()))
    return np.asarray(loading_MG[:kept])


def sample_of(cells: CellArrays, most: int, rng: np.random.Generator) -> CellArrays:
    """At most `most` of the cells, those of rare types first: each type has an equal share of the places."""
    if len(cells) <= most:
        return cells
    order_N = rng.permutation(len(cells))
    places = max(most // len(np.unique(cells.labels_N)), 1)
    kept = [order_N[cells.labels_N[order_N] == label][:places] for label in np.unique(cells.labels_N)]
    return cells.take(np.sort(np.concatenate(kept)))


def scaled(
    statistics: NoveltyStatistics,
    weights: tuple[float, float, float],
    cells: CellArrays,
    probabilities_NC: NDArray[np.floating],
) -> NoveltyScore:
    """The score with scales from these cells."""
    unscaled = NoveltyScore(statistics, torch.zeros(3), torch.ones(3), torch.ones(3))
    centre_3, high_3 = np.quantile(parts_of(unscaled, cells, probabilities_NC), [0.5, 0.99], axis=0)
    scale_3 = np.maximum(high_3 - centre_3, 1e-3)
    return NoveltyScore(statistics, *(torch.tensor(np.asarray(values)) for values in (centre_3, scale_3, weights)))


@torch.no_grad()
def parts_of(
    score: NoveltyScore,
    cells: CellArrays,
    probabilities_NC: NDArray[np.floating],
    measured_G: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The parts before scaling, cells x 3, see `NoveltyScore.parts`."""
    return score.parts(*_inputs(cells, probabilities_NC, measured_G)).numpy().astype(np.float64)


@torch.no_grad()
def novelty_of(
    score: NoveltyScore,
    cells: CellArrays,
    probabilities_NC: NDArray[np.floating],
    measured_G: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Novelty of each cell; None: all genes are measured."""
    return score(*_inputs(cells, probabilities_NC, measured_G)).numpy()


def fit_thresholds(
    score: NoveltyScore,
    validation: CellArrays,
    probabilities: Probabilities,
    withheld: float,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Threshold by fraction of measured genes below all, from validation cells with randomly chosen genes hidden.

    Returns:
        `measured` and `threshold`, from most genes to few.
    """
    sample = validation.take(np.sort(rng.permutation(len(validation))[:MASKED_CELLS]))
    mean_G, found = score.mean_G.numpy().astype(np.float64), []
    for fraction in MEASURED[1:]:
        limits = []
        for _ in range(MASKS):
            measured_G = rng.random(validation.n_genes) < fraction
            shown = without_genes(sample, measured_G, mean_G)
            limits.append(quantile_above(novelty_of(score, shown, probabilities(shown), measured_G), withheld))
        found.append({"measured": fraction, "threshold": float(np.mean(limits))})
    return found


def quantile_above(values_N: NDArray[np.floating], share: float) -> float:
    """The value above which a share of the values is."""
    return float(np.quantile(values_N, 1.0 - share, method="higher"))


def without_genes(cells: CellArrays, measured_G: NDArray[np.bool_], mean_G: NDArray[np.float64]) -> CellArrays:
    """Cells as the model sees them if only some genes are measured: the others have their average."""
    counts_NG = cells.counts_NG.copy()
    counts_NG[:, ~measured_G] = average_counts(mean_G[~measured_G], cells.library_size_N)
    return CellArrays(counts_NG, cells.library_size_N, cells.labels_N)


def choose_weights(
    training: CellArrays, rng: np.random.Generator
) -> tuple[tuple[float, float, float], dict[str, float]]:
    """Choose the weights of the parts with each type left out of the training cells in turn.

    Half of the other cells are fitted, the other half are the known cells, and the reverse. Logistic regression on the
    components takes the place of the model.

    Returns:
        The weights with the highest AUROC, averaging the mean over types and the lowest; and both for these weights.
        The default weights and nothing if there are too few types.
    """
    cells = sample_of(training, MOST_FOR_WEIGHTS, rng)
    sizes_C = np.bincount(cells.labels_N)
    types = [int(label) for label in np.flatnonzero(sizes_C >= FEWEST_CELLS)]
    if len(types) < FEWEST_TYPES:
        return DEFAULT_WEIGHTS, {}
    half_N = rng.random(len(cells)) < 0.5
    auroc_TW = np.array(
        [
            np.mean([_auroc_by_weights(cells, fitted_N, label, rng) for fitted_N in (half_N, ~half_N)], axis=0)
            for label in types
        ]
    )
    mean_W, lowest_W = auroc_TW.mean(axis=0), auroc_TW.min(axis=0)
    best = int((mean_W + lowest_W).argmax())
    return CANDIDATES[best], {"mean": float(mean_W[best]), "lowest": float(lowest_W[best])}


def stand_in(statistics: NoveltyStatistics, training: CellArrays) -> Probabilities:
    """Probabilities of a logistic regression on the components, in the place of the model."""
    from sklearn.linear_model import LogisticRegression

    projection_GM, mean_G = statistics.projection_GM.numpy(), statistics.mean_G.numpy()

    def components(cells: CellArrays) -> NDArray[np.float64]:
        return np.asarray((log1p_cp10k(cells.counts_NG, cells.library_size_N) - mean_G) @ projection_GM)

    classifier = LogisticRegression(C=0.1, max_iter=200).fit(components(training), training.labels_N)
    return lambda cells: np.asarray(classifier.predict_proba(components(cells)))


def _auroc_by_weights(
    cells: CellArrays, half_N: NDArray[np.bool_], label: int, rng: np.random.Generator
) -> list[float]:
    """AUROC of a type that was left out against the other types, for each of CANDIDATES."""
    is_left_out_N = cells.labels_N == label
    fitted = renumbered(cells.take(np.flatnonzero(half_N & ~is_left_out_N)))
    known = cells.take(np.flatnonzero(~half_N & ~is_left_out_N))
    left_out = cells.take(np.flatnonzero(is_left_out_N))
    statistics = novelty_statistics(fitted, rng)
    probabilities = stand_in(statistics, fitted)
    score = scaled(statistics, DEFAULT_WEIGHTS, known, probabilities(known))
    parts_N3 = np.concatenate([parts_of(score, part, probabilities(part)) for part in (left_out, known)])
    parts_N3 = (parts_N3 - score.centre_3.numpy()) / score.scale_3.numpy()
    score_NW = parts_N3 @ np.array(CANDIDATES).T
    return [auroc(score_N[: len(left_out)], score_N[len(left_out) :]) for score_N in score_NW.T]


def auroc(high_N: NDArray[np.floating], low_N: NDArray[np.floating]) -> float:
    """Area under the ROC curve: the probability that a value of the first is above one of the second, ties half."""
    from sklearn.metrics import roc_auc_score

    is_high_N = np.repeat([1, 0], [len(high_N), len(low_N)])
    return float(roc_auc_score(is_high_N, np.concatenate([high_N, low_N])))


def renumbered(cells: CellArrays) -> CellArrays:
    """The cells with class indices without gaps, in the same order."""
    return CellArrays(cells.counts_NG, cells.library_size_N, np.unique(cells.labels_N, return_inverse=True)[1])


def _inputs(
    cells: CellArrays, probabilities_NC: NDArray[np.floating], measured_G: NDArray[np.bool_] | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    expression_NG = log1p_cp10k(cells.counts_NG, cells.library_size_N).astype(np.float32)
    given_G = np.ones(cells.n_genes) if measured_G is None else measured_G
    arrays = (expression_NG, probabilities_NC, given_G)
    expression, probability, measured = (torch.as_tensor(np.asarray(values, dtype=np.float32)) for values in arrays)
    return expression, probability, measured


def save_novelty(score: NoveltyScore, path: Path) -> None:
    """Write the score to a safetensors file, atomically."""
    with atomic_write(path) as temporary:
        save_file({name: values.contiguous() for name, values in score.state_dict().items()}, temporary)


def load_novelty(path: Path) -> NoveltyScore:
    """Read a score that `save_novelty` wrote.

    Raises:
        UserError: the file does not exist or is damaged.
    """
    try:
        found = load_file(path)
        statistics = NoveltyStatistics(*(found[name] for name in NoveltyStatistics._fields))
        return NoveltyScore(statistics, *(found[name] for name in ("centre_3", "scale_3", "weight_3")))
    except (OSError, KeyError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `dvc repro evaluate`.") from error
