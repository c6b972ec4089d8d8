"""What is drawn once for a simulation: its settings, the true signed network, and the programs of the cell types."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.errors import UserError

_CASCADE_WEIGHT = 0.5
"""Weight of an edge between two regulators, relative to one onto a target: cascades fade, as noise adds up."""

_NUMBERS = ("cells", "genes", "regulators", "types", "donors", "max_regulators", "family_size", "genome_genes")
_STRENGTHS = (
    *("hub_exponent", "effect", "program_strength", "type_skew", "regulator_noise", "dispersion", "donor_effect"),
    *("library_spread", "expression_spread", "dropout"),
)
"""Settings for which nothing but sense sets a limit: 0 to 10."""


@dataclass(frozen=True)
class SimulationConfig:
    """Settings of simulated cells. The defaults give droplet-like counts: about 92 % zeros.

    Raises:
        UserError: a setting is out of its range, or two contradict one another.
    """

    cells: int = 5000
    """Cells; fewer cells of one seed are the first ones of more."""
    genes: int = 1000
    """Genes, regulators included."""
    regulators: int = 100
    """Genes that regulate others; they come first. At most half of the genes, so that each can have a target."""
    types: int = 8
    """Cell types."""
    donors: int = 4
    """Donors, equally frequent."""
    seed: int = 0
    """Everything random follows from it (with one version of numpy)."""
    gene_symbols: tuple[str, ...] | None = None
    """Names of the genes, regulators first; None: REG0001, ..., GENE0001, ..."""
    max_regulators: int = 4
    """A target has 1 to this many regulators, each number equally likely, but no more than there are."""
    hub_exponent: float = 0.8
    """The regulator of rank k is chosen with a weight of k**-exponent: 0 none preferred, 1 strong hubs."""
    activating_share: float = 0.7
    """Share of the edges that activate; the others repress."""
    regulated_regulators: float = 0.5
    """Share of the regulators that have regulators themselves (earlier ones: there are no cycles)."""
    effect: float = 1.2
    """Mean change of a target's log expression when a regulator goes from unused to saturated."""
    program_share: float = 0.15
    """Share of the regulators that a cell type switches on for itself, and the same again for its family."""
    program_strength: float = 1.3
    """Mean activity of a regulator that is switched on; 0 makes all types alike."""
    family_size: int = 2
    """So many consecutive types share a family's program and so lie close; 1: no families."""
    type_skew: float = 0.5
    """The k-th type is as frequent as k**-skew; 0: all equally."""
    regulator_noise: float = 0.8
    """Standard deviation of a regulator's activity among the cells of one type: what makes edges visible there."""
    dispersion: float = 0.3
    """Squared coefficient of variation of a gene's multiplicative (gamma) noise: counts are negative binomial; 0:
    Poisson."""
    donor_effect: float = 0.15
    """Standard deviation of a donor's shift of each gene's log expression."""
    library_size: float = 1500.0
    """Median counts of a whole cell (before regulation changes them)."""
    library_spread: float = 0.4
    """Standard deviation of log library size."""
    genome_genes: int = 20_000
    """The simulated genes are taken as a sample of so many; the counts of the others are in the library size alone, so
    sparsity does not depend on the number of genes. With as many simulated genes no counts are left for others."""
    expression_spread: float = 1.5
    """Standard deviation of the genes' baseline log expression."""
    dropout: float = 0.0
    """Expected count at which half of a gene's counts are lost altogether, K of the Michaelis-Menten curve K / (K + s)
    (M3Drop, https://doi.org/10.1093/bioinformatics/bty1044); 0: none lost, as droplet counts with UMIs look."""

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            self._require(getattr(self, name) >= 1, name, "at least 1")
        self._require(self.genes <= 200_000, "genes", "at most 200,000")
        self._require(self.seed >= 0, "seed", "0 or more")
        for name in ("activating_share", "regulated_regulators"):
            self._require(0 <= getattr(self, name) <= 1, name, "a share from 0 to 1")
        self._require(0 < self.program_share <= 1, "program_share", "a share above 0 and up to 1")
        self._require(0 < self.library_size <= 1e7, "library_size", "counts above 0 and up to 10,000,000")
        self._require(self.effect > 0, "effect", "a number above 0 and up to 10: an edge without effect has no sign")
        for name in _STRENGTHS:
            self._require(0 <= getattr(self, name) <= 10, name, "a number from 0 to 10")
        self._require(
            2 * self.regulators <= self.genes,
            "regulators",
            f"at most {self.genes // 2}, half of the {self.genes} genes, so that every regulator can have a target",
        )
        self._require(self.types <= 1000 and self.donors <= 1000, "types and donors", "at most 1,000 of each")
        if self.gene_symbols is not None:
            self._check_symbols(self.gene_symbols)

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            found = getattr(self, name, f"{self.types} and {self.donors}")
            raise UserError(f"simulation: {name} is {found}; expected {expected}.")

    def _check_symbols(self, symbols: tuple[str, ...]) -> None:
        if len(symbols) != self.genes:
            raise UserError(f"simulation: {len(symbols)} gene symbols are given for {self.genes} genes; give one each.")
        for symbol, times in Counter(symbols).items():
            if times > 1 or not symbol or symbol.split() != [symbol]:
                why = f"stands {times} times" if times > 1 else "is empty or holds white space"
                raise UserError(f"simulation: gene symbol {symbol!r} {why}; expected a name of its own for each gene.")

    @property
    def symbols(self) -> list[str]:
        """Names of the genes, regulators first."""
        if self.gene_symbols is not None:
            return list(self.gene_symbols)
        targets = self.genes - self.regulators
        return [f"REG{i + 1:04}" for i in range(self.regulators)] + [f"GENE{i + 1:04}" for i in range(targets)]


@dataclass(frozen=True)
class TrueNetwork:
    """The edges that cells are made from: acyclic, no pair twice, every gene that is no regulator has a regulator."""

    symbols: list[str]
    """Names of the genes, regulators first."""
    n_regulators: int
    source_E: NDArray[np.int64]
    """Position of each edge's regulator."""
    target_E: NDArray[np.int64]
    """Position of each edge's target; a regulator's regulators stand before it."""
    weight_E: NDArray[np.float64]
    """Change of the target's log expression (of its activity, where it is a regulator) by a fully active regulator;
    under 0 where it represses."""

    def table(self) -> pd.DataFrame:
        """The edges as the project's network table, sorted by regulator and target.

        Columns regulator, target, sign, confidence (1: they are true) and evidence (the weight).
        """
        names = np.array(self.symbols, dtype=object)
        table = pd.DataFrame(
            {
                "regulator": names[self.source_E],
                "target": names[self.target_E],
                "sign": np.where(self.weight_E > 0, 1, -1),
                "confidence": 1,
                "evidence": [f"simulated with weight {weight:+.3f}" for weight in self.weight_E],
            }
        )
        return table.sort_values(["regulator", "target"], ignore_index=True)

    @cached_property
    def response(self) -> sparse.csr_matrix:
        """Genes x regulators: log expression by activity. A regulator's own expression follows its own activity."""
        onto_targets = self.target_E >= self.n_regulators
        itself_R = np.arange(self.n_regulators)
        rows = np.concatenate([itself_R, self.target_E[onto_targets]])
        columns = np.concatenate([itself_R, self.source_E[onto_targets]])
        weights = np.concatenate([np.ones(self.n_regulators), self.weight_E[onto_targets]]).astype(np.float32)
        return sparse.csr_matrix((weights, (rows, columns)), shape=(len(self.symbols), self.n_regulators))

    @cached_property
    def cascade(self) -> sparse.csr_matrix:
        """Regulators x regulators: activity by input, over all paths.

        I + B + B^2 + ... of the edges B, which ends because there are no cycles.
        """
        among = self.target_E < self.n_regulators
        shape = (self.n_regulators, self.n_regulators)
        edges = sparse.csr_matrix((self.weight_E[among], (self.target_E[among], self.source_E[among])), shape=shape)
        total = sparse.identity(self.n_regulators, format="csr")
        paths = edges
        while paths.nnz:
            total = total + paths
            paths = paths @ edges
            paths.eliminate_zeros()
        return total.astype(np.float32)


def random_network(config: SimulationConfig, rng: np.random.Generator) -> TrueNetwork:
    """Draw a signed network whose regulators differ widely in their number of targets.

    A few hubs, many regulators with few targets, and regulators that regulate one another in an acyclic order: what
    SERGIO (Dibaeinia and Sinha 2020, https://doi.org/10.1016/j.cels.2020.08.003) takes from known networks, drawn at
    random here.
    """
    n_regulators, n_targets = config.regulators, config.genes - config.regulators
    weight_R = rng.permutation(np.arange(1, n_regulators + 1, dtype=np.float64) ** -config.hub_exponent)
    certain_T = np.full(n_targets, -1)  # so that every regulator has a target
    certain_T[rng.permutation(n_targets)[:n_regulators]] = np.arange(n_regulators)
    sources, targets = [], []
    for regulator in range(1, n_regulators):
        if rng.random() < config.regulated_regulators:
            chosen = _choose(rng, weight_R[:regulator], _number(config, rng))
            sources.append(chosen)
            targets.append(np.full(len(chosen), regulator))
    for target in range(n_targets):
        number, weights, first = _number(config, rng), weight_R, certain_T[target : target + 1]
        if first[0] >= 0:
            weights = weight_R.copy()
            weights[first] = 0.0
            number -= 1
        else:
            first = first[:0]
        chosen = np.concatenate([first, _choose(rng, weights, number)])
        sources.append(chosen)
        targets.append(np.full(len(chosen), n_regulators + target))
    source_E, target_E = np.concatenate(sources), np.concatenate(targets)
    size_E = config.effect * rng.uniform(0.5, 1.5, len(source_E))
    sign_E = np.where(rng.random(len(source_E)) < config.activating_share, 1.0, -1.0)
    scale_E = np.where(target_E < n_regulators, _CASCADE_WEIGHT, 1.0)
    return TrueNetwork(config.symbols, n_regulators, source_E, target_E, sign_E * scale_E * size_E)


def _number(config: SimulationConfig, rng: np.random.Generator) -> int:
    return int(rng.integers(1, config.max_regulators + 1))


def _choose(rng: np.random.Generator, weight_R: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Positions of `number` different regulators, or of as many as there are."""
    possible = int(np.count_nonzero(weight_R))
    if number == 0 or possible == 0:
        return np.empty(0, dtype=np.int64)
    return rng.choice(len(weight_R), min(number, possible), replace=False, p=weight_R / weight_R.sum())


def random_programs(config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Input of each regulator in each cell type (regulators x types): 0 where it is off.

    A type switches on regulators of its own and those of its family, as strongly as its relatives do.
    """
    families = -(-config.types // config.family_size)
    shared_RF, own_RT = (
        np.stack([_program(config, rng) for _ in range(number)], axis=1) for number in (families, config.types)
    )
    if config.family_size == 1:
        return own_RT.astype(np.float32)
    return np.maximum(own_RT, shared_RF[:, np.arange(config.types) // config.family_size]).astype(np.float32)


def _program(config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    strength_R = np.zeros(config.regulators)
    number = max(1, round(config.program_share * config.regulators))
    on = rng.choice(config.regulators, number, replace=False)
    strength_R[on] = config.program_strength * rng.uniform(0.5, 1.5, number)
    return strength_R
