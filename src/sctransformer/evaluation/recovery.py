"""Does a model's regulator activity agree with biology that it was not trained on? Pure functions over arrays."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

from sctransformer.evaluation.bootstrap import RESAMPLES

OWN_WEIGHT = 0.5
"""Weight of a regulator's own mRNA beside its activity, both z-scored over cells."""


def column_auroc(values_NR: NDArray[np.floating], positive_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under the ROC curve of each column, by ranks; ties count one half (Mann and Whitney 1947).

    Args:
        values_NR: one column per regulator.
        positive_N: rows that should have the higher values.

    Raises:
        ValueError: all rows are positive, or none is.
    """
    n_positive = int(positive_N.sum())
    n_negative = len(positive_N) - n_positive
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"{n_positive} positive and {n_negative} negative rows; expected at least one of each")
    ranks_NR = rankdata(values_NR, axis=0)
    sums_R = ranks_NR[positive_N].sum(axis=0) - n_positive * (n_positive + 1) / 2
    return np.asarray(sums_R / (n_positive * n_negative), dtype=np.float64)


def resampled_auroc(values_N: NDArray[np.floating], positive_N: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """AUROC in each bootstrap resample; positives and negatives are resampled separately, so their numbers are fixed.

    The same seed and `positive_N` give the same resamples, so that two scores can be compared in pairs.
    """
    rng = np.random.default_rng(seed)
    _, group_N = np.unique(values_N, return_inverse=True)
    counts = []
    for chosen_N in (positive_N, ~positive_N):
        rows = np.flatnonzero(chosen_N)
        times_TN = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=RESAMPLES)
        in_group = np.zeros((len(rows), group_N.max() + 1), dtype=np.float32)
        in_group[np.arange(len(rows)), group_N[rows]] = 1.0
        counts.append(times_TN.astype(np.float32) @ in_group)
    positive, negative = counts  # resamples x distinct values, ascending
    below = np.cumsum(negative, axis=1, dtype=np.float64) - 0.5 * negative
    total = positive.sum(axis=1, dtype=np.float64) * negative.sum(axis=1, dtype=np.float64)
    return np.asarray((positive * below).sum(axis=1) / total, dtype=np.float64)


def resampled_r2(error_N: NDArray[np.floating], variance_N: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    """Explained fraction of the variance of hidden genes in each bootstrap resample of cells.

    Args:
        error_N: squared error of each cell, summed over its hidden genes.
        variance_N: the same for the prediction zero, the mean of each gene.
        seed: the same seed and number of cells give the same resamples, for paired comparisons.
    """
    n_cells = len(error_N)
    times_TN = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=RESAMPLES)
    return np.asarray(1.0 - (times_TN @ error_N) / (times_TN @ variance_N), dtype=np.float64)


def population_t(values_NR: NDArray[np.floating], in_population_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Welch's t statistic of each column, population against all other cells; 0 for a constant column."""
    inside, outside = (values_NR[rows].astype(np.float64) for rows in (in_population_N, ~in_population_N))
    squared_R = inside.var(axis=0, ddof=1) / len(inside) + outside.var(axis=0, ddof=1) / len(outside)
    difference_R = inside.mean(axis=0) - outside.mean(axis=0)
    return np.divide(difference_R, np.sqrt(squared_R), out=np.zeros_like(difference_R), where=squared_R > 1e-24)


def known_regulator_recovery(
    values_NR: NDArray[np.floating],
    regulators: Sequence[str],
    populations_N: Sequence[str],
    known: Mapping[str, Collection[str]],
) -> dict[str, float]:
    """How high the known regulators of each population rank among all regulators.

    Regulators are ranked by the t statistic of the population; the result is the AUROC of known against other
    regulators: 0.5 for a random order, 1 if all known regulators come first.

    Args:
        values_NR: activity, or another score, cells x regulators.
        regulators: names of the columns.
        populations_N: population of each cell.
        known: population -> its known regulators; those that are not among `regulators` are ignored.

    Returns:
        Population -> AUROC, for populations with cells and with a known regulator among `regulators`.
    """
    population_N, names_R = np.asarray(populations_N, dtype=object), np.asarray(regulators, dtype=object)
    found = {}
    for population, own in known.items():
        in_population_N, is_known_R = population_N == population, np.isin(names_R, list(own))
        if in_population_N.any() and not in_population_N.all() and is_known_R.any() and not is_known_R.all():
            found[population] = float(column_auroc(population_t(values_NR, in_population_N), is_known_R))
    return found


def univariate_activity(
    z_NG: NDArray[np.floating], weight_RG: NDArray[np.floating] | sparse.csr_matrix
) -> NDArray[np.float64]:
    """Activity without training: t statistic of the slope of a cell's expression on a regulator's weights.

    The univariate linear model of decoupler (Badia-i-Mompel et al. 2022, Bioinformatics Advances 2:vbac016), over all
    genes, those without an edge with weight 0.

    Args:
        z_NG: standardised expression.
        weight_RG: sign times confidence of each edge, 0 elsewhere.
    """
    n_genes, edges = z_NG.shape[1], sparse.csr_matrix(weight_RG)
    centred_NG = z_NG - z_NG.mean(axis=1, keepdims=True)
    mean_R = np.asarray(edges.mean(axis=1)).ravel()
    squares_R = np.asarray(edges.multiply(edges).sum(axis=1)).ravel() - n_genes * mean_R**2
    product_NR = np.asarray((edges @ centred_NG.T).T, dtype=np.float64)
    norm_NR = np.sqrt((centred_NG**2).sum(axis=1, keepdims=True) * squares_R)
    r_NR = np.divide(product_NR, norm_NR, out=np.zeros_like(product_NR), where=norm_NR > 0).clip(-0.999999, 0.999999)
    return r_NR * np.sqrt((n_genes - 2) / (1 - r_NR**2))


def z_scored(values_NR: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns with mean 0 and standard deviation 1; a constant column is 0."""
    centred_NR = values_NR - values_NR.mean(axis=0, dtype=np.float64)
    std_R = centred_NR.std(axis=0)
    return np.divide(centred_NR, std_R, out=np.zeros_like(centred_NR), where=std_R > 1e-12)


def combined_score(
    activity_NR: NDArray[np.floating], own_NR: NDArray[np.floating], own_weight: float = OWN_WEIGHT
) -> NDArray[np.float64]:
    """Activity plus `own_weight` times the regulator's own mRNA, both z-scored over cells.

    Args:
        activity_NR: activity, cells x regulators.
        own_NR: log expression of each regulator's gene; a column of zeros if the gene is not measured.
        own_weight: weight of the mRNA.
    """
    return z_scored(activity_NR) + own_weight * z_scored(own_NR)


def effective_targets(
    weight_JN: NDArray[np.floating], regulator_J: NDArray[np.integer], n_regulators: int
) -> NDArray[np.float64]:
    """Effective number of targets that a regulator attends to: exp of the entropy of its weights, mean over cells.

    Args:
        weight_JN: attention weight of each edge in each cell; those of a regulator add up to 1.
        regulator_J: regulator of each edge.
        n_regulators: number of regulators.
    """
    entropy_JN = -weight_JN * np.log(np.maximum(weight_JN, 1e-30))
    entropy_RN = np.zeros((n_regulators, weight_JN.shape[1]))
    np.add.at(entropy_RN, regulator_J, entropy_JN)
    return np.asarray(np.exp(entropy_RN).mean(axis=1), dtype=np.float64)


def edge_recovery(
    score_J: NDArray[np.floating], is_true_J: NDArray[np.bool_], regulator_J: NDArray[np.integer], seed: int
) -> tuple[float, NDArray[np.float64]]:
    """AUROC of true against other edges by a score, and the same in bootstrap resamples of regulators.

    Edges of a regulator are not independent (they share one experiment), so whole regulators are resampled.

    Args:
        score_J: strength of each edge.
        is_true_J: whether an experiment confirmed the edge.
        regulator_J: regulator of each edge.
        seed: seed of the bootstrap.

    Returns:
        The AUROC, and one value for each resample with true and other edges.
    """
    names, group_J = np.unique(regulator_J, return_inverse=True)
    rows_of = [np.flatnonzero(group_J == index) for index in range(len(names))]
    rng, values = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[index] for index in rng.integers(len(names), size=len(names))])
        if 0 < is_true_J[rows].sum() < len(rows):
            values.append(float(column_auroc(score_J[rows], is_true_J[rows])))
    return float(column_auroc(score_J, is_true_J)), np.array(values)


def top_overlap(one_R: NDArray[np.floating], other_R: NDArray[np.floating], number: int = 20) -> float:
    """Jaccard index of the regulators with the highest scores in two runs; 1 if they are the same."""
    one, other = (set(np.argsort(-values_R, kind="stable")[:number].tolist()) for values_R in (one_R, other_R))
    return len(one & other) / len(one | other)
