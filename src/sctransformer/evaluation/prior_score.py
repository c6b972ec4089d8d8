"""What a network knows about cells, measured against rewired networks with the same degrees; no model is trained.

Every measurement has the same form: its value for the network, for `shuffles` controls, and for a rule that uses no
network. A network passes a measurement if the 95 % interval of the difference to its controls is above 0.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import CLIP
from sctransformer.data.expression import CountedCells
from sctransformer.data.moments import GeneMoments
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.panel import choose_expressed_panel
from sctransformer.errors import UserError
from sctransformer.evaluation.bootstrap import percentile_interval
from sctransformer.evaluation.held_out_edges import Correlation, held_out_correlation, scaled
from sctransformer.evaluation.recovery import column_auroc, known_regulator_recovery, univariate_activity
from sctransformer.prior.controls import shuffled
from sctransformer.prior.edge_list import edge_list
from sctransformer.prior.network import Network

_LEAST_DEVIATION = 1e-6
"""Smallest standard deviation by which a gene is divided."""


class ExpressedGenes(NamedTuple):
    """Expression of some cells. N: cells, G: genes, R: regulators of the network."""

    z_NG: NDArray[np.float32]
    """log1p of counts per 10,000 in standard deviations from the mean of the cells, clipped, minus the mean over the
    genes of the cell, as activities read it."""
    genes: list[str]
    own_NR: NDArray[np.floating]
    """log1p of counts per 10,000 of each regulator's own gene; 0 if it is not measured."""


class Stimulation(NamedTuple):
    """Cells in which some regulators must be more active than in all others."""

    stimulated_N: NDArray[np.bool_]
    expected: Collection[str]


class Populations(NamedTuple):
    """The population of each cell, and the regulators that are known for some of them."""

    population_N: Sequence[str]
    known: Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Measurement:
    """One measurement of a network."""

    name: str
    network: float
    """The value of the network."""
    shuffled: list[float]
    """The values of the rewired networks."""
    without_network: float | None
    """The value of the same rule without the edges: a regulator's own mRNA; None if there is none."""
    detail: str
    """How many genes, regulators, populations or edges it rests on."""
    more: dict[str, float] = field(default_factory=dict)
    """Values by regulator, population or rule."""

    @property
    def difference(self) -> tuple[float, float, float]:
        """Mean difference to the controls, and its 95 % interval over them."""
        differences_T = self.network - np.array(self.shuffled)
        return float(differences_T.mean()), *percentile_interval(differences_T)

    @property
    def percentile(self) -> float:
        """Fraction of the controls with a lower value, in percent."""
        return float(100 * (np.array(self.shuffled) < self.network).mean())

    @property
    def z(self) -> float:
        """Difference to the mean of the controls, in their standard deviations; infinite if they do not differ."""
        spread = float(np.std(self.shuffled, ddof=1)) if len(self.shuffled) > 1 else 0.0
        difference = self.difference[0]
        return difference / spread if spread > 0 else float(np.copysign(np.inf, difference) if difference else 0.0)

    @property
    def passed(self) -> bool:
        """Whether the interval of the difference is above 0."""
        return self.difference[1] > 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return self.summary() | {"shuffled": self.shuffled}

    def summary(self) -> dict[str, Any]:
        """A JSON object without the values of the single controls."""
        mean, low, high = self.difference
        return {
            "name": self.name,
            "network": self.network,
            "shuffled_mean": float(np.mean(self.shuffled)),
            "without_network": self.without_network,
            "difference": mean,
            "low": low,
            "high": high,
            "percentile": self.percentile,
            "z": self.z if np.isfinite(self.z) else None,
            "passed": self.passed,
            "detail": self.detail,
            "more": self.more,
        }


class Scorecard(NamedTuple):
    """Everything that is measured of a network."""

    measurements: list[Measurement]
    """Hidden genes first, then those for which something is given."""
    evidence: dict[str, float]
    """By regulator: the fraction of rewired networks in which its targets vary together less than in the network. The
    measure is the variance of the signed mean of the targets over the cells."""


def expressed_genes(cells: CountedCells, network: Network, min_targets: int) -> tuple[ExpressedGenes, Network]:
    """The genes that a model of activities would read, and the edges that it would use.

    Args:
        cells: raw counts over all genes.
        network: edges to other genes, and regulators with fewer targets than `min_targets`, are left out.
        min_targets: see `prior.min_targets`.

    Raises:
        UserError: no edge is left.
    """
    moments = GeneMoments(len(cells.genes))
    moments.add(cells.counts_NG, cells.library_size_N)
    panel = choose_expressed_panel(moments, cells.genes, network.pairs)
    genes = panel["gene"].tolist()
    inside = network.onto(set(genes), min_targets)
    if not len(inside):
        raise UserError(
            f"no regulator of the network has {min_targets} targets among the {len(genes):,} genes that these cells "
            "express; check that cells and network use the same gene names."
        )
    columns = pd.Index(cells.genes).get_indexer(pd.Index(genes))
    expression_NG = log1p_cp10k(cells.counts_NG[:, columns], cells.library_size_N).toarray()
    mean_G, std_G = panel["mean"].to_numpy(), np.maximum(panel["std"].to_numpy(), _LEAST_DEVIATION)
    z_NG = ((expression_NG - mean_G) / std_G).clip(-CLIP, CLIP).astype(np.float32)
    z_NG -= z_NG.mean(axis=1, keepdims=True)
    return ExpressedGenes(z_NG, genes, cells.own_expression(inside.regulators)), inside


def score_network(
    network: Network,
    cells: ExpressedGenes,
    *,
    stimulation: Stimulation | None = None,
    populations: Populations | None = None,
    knock_outs: pd.DataFrame | None = None,
    hidden_edges: float | None = None,
    shuffles: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scorecard:
    """Measure a network and its controls on the same cells.

    Args:
        network: edges to genes of the cells, see `Network.onto`.
        cells: their expression.
        stimulation: if given, the mean AUROC of the expected regulators is measured.
        populations: if given, the rank of known regulators is measured, see `known_regulator_recovery`.
        knock_outs: if given, columns regulator and target: the fraction of edges that a knock-out confirmed.
        hidden_edges: if given, this fraction of the edges is held out, see `held_out_correlation`.
        shuffles: number of controls; with fewer than 40 the interval is about that of the lowest and highest one.
        seed: random seed of the controls and of the halves of the cells.
        on_progress: called with the number of networks done and the number of all networks.
    """
    half_N = np.random.default_rng(seed).permutation(len(cells.z_NG)) % 2 == 0
    found: list[dict[str, Value]] = []
    together: list[NDArray[np.floating]] = []
    first: Correlation | None = None
    for number in range(shuffles + 1):
        one = network if number == 0 else shuffled(network, None, seed + number)
        activity_NR, weight_RG = signed_means(one, cells)
        together.append(activity_NR.var(axis=0))
        values = {"hidden genes": hidden_genes(activity_NR, weight_RG, cells, half_N)}
        if hidden_edges is not None:
            held_out = held_out_correlation(weight_RG, cells.z_NG, cells.own_NR, hidden_edges, seed)
            values["hidden edges"] = Value(held_out.mean, f"{held_out.edges:,} edges")
            first = held_out if number == 0 else first
        if stimulation is not None or populations is not None:
            ulm_NR = univariate_activity(cells.z_NG, weight_RG)
            values |= _by_activity(ulm_NR, network.regulators, stimulation, populations)
        if knock_outs is not None and (confirmed := confirmed_edges(one, knock_outs)) is not None:
            values["knock-outs"] = confirmed
        found.append(values)
        on_progress(number + 1, shuffles + 1)
    without: dict[str, Value] = {"hidden genes": own_prediction(network, cells, half_N)}
    if first is not None:
        without["hidden edges"] = Value(first.own, "own mRNA")
    without |= _by_activity(cells.own_NR, network.regulators, stimulation, populations)
    measurements = [
        Measurement(
            name=name,
            network=value.mean,
            shuffled=[other[name].mean for other in found[1:] if name in other],
            without_network=without[name].mean if name in without else None,
            detail=value.detail,
            more=dict(value.parts),
        )
        for name, value in found[0].items()
    ]
    evidence_R = (np.array(together[1:]) < together[0]).mean(axis=0)
    return Scorecard(measurements, dict(zip(network.regulators, evidence_R.tolist(), strict=True)))


class Value(NamedTuple):
    """A value of one network, what it rests on, and its parts."""

    mean: float
    detail: str
    parts: Mapping[str, float] = MappingProxyType({})


def signed_means(network: Network, cells: ExpressedGenes) -> tuple[NDArray[np.float32], sparse.csr_matrix]:
    """The signed mean of each regulator's targets, and the weights of the edges, regulators x genes.

    The mean is scaled so that its variance is 1 for targets that do not vary together.
    """
    weight_RG = network_matrix(network, cells.genes)
    return np.asarray((scaled(weight_RG) @ cells.z_NG.T).T), weight_RG


def hidden_genes(
    activity_NR: NDArray[np.floating],
    weight_RG: sparse.csr_matrix,
    cells: ExpressedGenes,
    half_N: NDArray[np.bool_],
) -> Value:
    """R2 of genes that are predicted by the activities of their regulators, which do not see the gene itself.

    A gene's prediction is the sum of its regulators' activities without its own part, times sign and confidence, times
    one slope per gene, fitted on half of the cells; R2 is that of the other half.

    Args:
        activity_NR, weight_RG: see `signed_means`.
        cells: expression.
        half_N: the cells on which the slopes are fitted.
    """
    own_G = np.asarray(scaled(weight_RG).multiply(weight_RG).sum(axis=0)).ravel()
    columns = np.flatnonzero(own_G)
    prediction_NG = np.asarray((weight_RG[:, columns].T @ activity_NR.T).T) - cells.z_NG[:, columns] * own_G[columns]
    return _explained(prediction_NG, cells.z_NG[:, columns], half_N)


def own_prediction(network: Network, cells: ExpressedGenes, half_N: NDArray[np.bool_]) -> Value:
    """The same with the regulators' own mRNA in place of their activities."""
    weight_RG = network_matrix(network, cells.genes)
    columns = np.flatnonzero(np.asarray(weight_RG.multiply(weight_RG).sum(axis=0)).ravel())
    centred_NR = cells.own_NR - cells.own_NR.mean(axis=0)
    prediction_NG = np.asarray((weight_RG[:, columns].T @ centred_NR.T).T)
    return _explained(prediction_NG, cells.z_NG[:, columns], half_N)


def confirmed_edges(network: Network, knock_outs: pd.DataFrame) -> Value | None:
    """Fraction of edges that a knock-out confirmed, among those whose both ends were measured; None without any."""
    edges = network.edges
    among_J = edges["regulator"].isin(set(knock_outs["regulator"])) & edges["target"].isin(set(knock_outs["target"]))
    if not among_J.any():
        return None
    true = pd.MultiIndex.from_frame(knock_outs[["regulator", "target"]])
    confirmed_J = pd.MultiIndex.from_frame(edges.loc[among_J, ["regulator", "target"]]).isin(true)
    return Value(float(confirmed_J.mean()), f"{int(confirmed_J.sum()):,} of {len(confirmed_J):,} edges")


def network_matrix(network: Network, genes: Sequence[str]) -> sparse.csr_matrix:
    """Weight of each edge as in a model's attention, regulators (sorted) x genes; see `EdgeList.weight_J`."""
    edges = edge_list(network.edges.to_dict("list"), genes, "mask")
    shape = (edges.n_regulators, edges.n_genes)
    return sparse.csr_matrix((edges.weight_J, (edges.regulator_J, edges.target_J)), shape=shape)


def _by_activity(
    values_NR: NDArray[np.floating],
    regulators: Sequence[str],
    stimulation: Stimulation | None,
    populations: Populations | None,
) -> dict[str, Value]:
    """Recovery of known regulators by a value per cell and regulator; nothing where no known regulator is measured."""
    found: dict[str, Value] = {}
    if stimulation is not None:
        auroc_R = column_auroc(values_NR, stimulation.stimulated_N)
        expected = [name for name in regulators if name in set(stimulation.expected)]
        if expected:
            parts = {name: float(auroc_R[list(regulators).index(name)]) for name in expected}
            found["stimulation"] = Value(float(np.mean(list(parts.values()))), ", ".join(expected), parts)
    if populations is not None:
        parts = known_regulator_recovery(values_NR, regulators, populations.population_N, populations.known)
        if parts:
            found["lineage regulators"] = Value(
                float(np.mean(list(parts.values()))), f"{len(parts)} populations", parts
            )
    return found


def _explained(prediction_NG: NDArray[np.floating], z_NG: NDArray[np.floating], half_N: NDArray[np.bool_]) -> Value:
    """R2 with one slope per gene, fitted on one half of the cells and measured on the other."""
    x_NG, y_NG = prediction_NG[half_N], z_NG[half_N]
    square_G = (x_NG**2).sum(axis=0, dtype=np.float64)
    slope_G = np.divide((x_NG * y_NG).sum(axis=0), square_G, out=np.zeros_like(square_G), where=square_G > 1e-9)
    error_NG = z_NG[~half_N] - prediction_NG[~half_N] * slope_G
    total = float((z_NG[~half_N].astype(np.float64) ** 2).sum())
    r2 = 1.0 - float((error_NG**2).sum()) / total if total > 0 else 0.0
    return Value(r2, f"{z_NG.shape[1]:,} genes")
