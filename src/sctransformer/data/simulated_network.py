"""Settings of a simulation, its true signed network, and the programs of its cell types."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.errors import UserError

_CASCADE_WEIGHT = 0.5
"""Weight of an edge between two regulators relative to an edge to a target, so that cascades fade out."""

_NUMBERS = ("cells", "genes", "regulators", "types", "donors", "max_regulators", "family_size", "genome_genes")
_STRENGTHS = (
    *("hub_exponent", "effect", "program_strength", "type_skew", "regulator_noise", "dispersion", "donor_effect"),
    *("library_spread", "expression_spread", "dropout"),
)
"""Settings that must be between 0 and 10."""


@dataclass(frozen=True)
class SimulationConfig:
    """Settings of simulated cells. The defaults give droplet-like counts: about 92 % zeros.

    Raises:
        UserError: a setting is out of range, or two settings are inconsistent.
    """

    cells: int = 5000
    """Number of cells; a smaller number gives the first cells of a larger one."""
    genes: int = 1000
    """Number of genes, including regulators."""
    regulators: int = 100
    """Number of regulators, which are the first genes; at most half of the genes, so that each can have a target."""
    types: int = 8
    """Number of cell types."""
    donors: int = 4
    """Number of donors, equally frequent."""
    seed: int = 0
    """Random seed; results are the same with the same version of numpy."""
    gene_symbols: tuple[str, ...] | None = None
    """Names of the genes, regulators first; None: REG0001, ..., GENE0001, ..."""
    max_regulators: int = 4
    """Largest number of regulators per target; each number from 1 is equally likely."""
    hub_exponent: float = 0.8
    """Regulators are chosen with weight rank**-exponent: 0 for no hubs, 1 for strong hubs."""
    activating_share: float = 0.7
    """Fraction of activating edges; the others repress."""
    regulated_regulators: float = 0.5
    """Fraction of regulators that have regulators themselves, always earlier ones, so that there are no cycles."""
    effect: float = 1.2
    """Mean change of a target's log expression between an inactive and a saturated regulator."""
    program_share: float = 0.15
    """Fraction of regulators that are active in a cell type, and again in its family."""
    program_strength: float = 1.3
    """Mean activity of an active regulator; 0 makes all types equal."""
    family_size: int = 2
    """Number of consecutive types that share the program of a family and are similar; 1: no families."""
    type_skew: float = 0.5
    """The frequency of the k-th type is proportional to k**-skew; 0: all equal."""
    regulator_noise: float = 0.8
    """Standard deviation of a regulator's activity among the cells of a type, which makes edges visible within it."""
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
    """Number of genes of the whole genome, of which the simulated genes are a sample. Counts of other genes are in the
    library size only, so that sparsity does not depend on the number of simulated genes."""
    expression_spread: float = 1.5
    """Standard deviation of the genes' baseline log expression."""
    dropout: float = 0.0
    """Expected count at which half of a gene's counts are lost altogether, K of the Michaelis-Menten curve K / (K + s)
    (M3Drop, https://doi.org/10.1093/bioinformatics/bty1044); 0: none are lost, as in droplet counts with UMIs."""

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
    """The true edges of a simulation: acyclic, each pair once; each gene that is not a regulator has a regulator."""

    symbols: list[str]
    """Names of the genes, regulators first."""
    n_regulators: int
    source_J: NDArray[np.int64]
    """Position of each edge's regulator."""
    target_J: NDArray[np.int64]
    """Position of each edge's target; the regulators of a regulator come before it."""
    weight_J: NDArray[np.float64]
    """Change of the target's log expression (of its activity, if it is a regulator) by a fully active regulator;
    negative for repression."""

    def table(self) -> pd.DataFrame:
        """The edges as the project's network table, sorted by regulator and target.

        Columns regulator, target, sign, confidence (1: they are true) and evidence (the weight).
        """
        names = np.array(self.symbols, dtype=object)
        table = pd.DataFrame(
            {
                "regulator": names[self.source_J],
                "target": names[self.target_J],
                "sign": np.where(self.weight_J > 0, 1, -1),
                "confidence": 1,
                "evidence": [f"simulated with weight {weight:+.3f}" for weight in self.weight_J],
            }
        )
        return table.sort_values(["regulator", "target"], ignore_index=True)

    @cached_property
    def response(self) -> sparse.csr_matrix:
        """Effect of activities on log expression, genes x regulators; regulators follow their own activity."""
        onto_targets = self.target_J >= self.n_regulators
        itself_R = np.arange(self.n_regulators)
        rows = np.concatenate([itself_R, self.target_J[onto_targets]])
        columns = np.concatenate([itself_R, self.source_J[onto_targets]])
        weights = np.concatenate([np.ones(self.n_regulators), self.weight_J[onto_targets]]).astype(np.float32)
        return sparse.csr_matrix((weights, (rows, columns)), shape=(len(self.symbols), self.n_regulators))

    @cached_property
    def cascade(self) -> sparse.csr_matrix:
        """Effect of inputs on activities over all paths, regulators x regulators.

        The sum I + B + B^2 + ... of the edges B, which is finite because there are no cycles.
        """
        among = self.target_J < self.n_regulators
        shape = (self.n_regulators, self.n_regulators)
        edges = sparse.csr_matrix((self.weight_J[among], (self.target_J[among], self.source_J[among])), shape=shape)
        total = sparse.identity(self.n_regulators, format="csr")
        paths = edges
        while paths.nnz:
            total = total + paths
            paths = paths @ edges
            paths.eliminate_zeros()
        return total.astype(np.float32)


def random_network(config: SimulationConfig, rng: np.random.Generator) -> TrueNetwork:
    """Draw a signed network whose regulators differ widely in their number of targets.

    There are a few hubs, many regulators with few targets, and regulators that regulate one another without cycles, as
    in the known networks that SERGIO uses (Dibaeinia and Sinha 2020, https://doi.org/10.1016/j.cels.2020.08.003).
    """
    n_regulators, n_targets = config.regulators, config.genes - config.regulators
    weight_R = rng.permutation(np.arange(1, n_regulators + 1, dtype=np.float64) ** -config.hub_exponent)
    certain = np.full(n_targets, -1)  # so that every regulator has a target
    certain[rng.permutation(n_targets)[:n_regulators]] = np.arange(n_regulators)
    sources, targets = [], []
    for regulator in range(1, n_regulators):
        if rng.random() < config.regulated_regulators:
            chosen = _choose(rng, weight_R[:regulator], _number(config, rng))
            sources.append(chosen)
            targets.append(np.full(len(chosen), regulator))
    for target in range(n_targets):
        number, weights, first = _number(config, rng), weight_R, certain[target : target + 1]
        if first[0] >= 0:
            weights = weight_R.copy()
            weights[first] = 0.0
            number -= 1
        else:
            first = first[:0]
        chosen = np.concatenate([first, _choose(rng, weights, number)])
        sources.append(chosen)
        targets.append(np.full(len(chosen), n_regulators + target))
    source_J, target_J = np.concatenate(sources), np.concatenate(targets)
    size_J = config.effect * rng.uniform(0.5, 1.5, len(source_J))
    sign_J = np.where(rng.random(len(source_J)) < config.activating_share, 1.0, -1.0)
    scale_J = np.where(target_J < n_regulators, _CASCADE_WEIGHT, 1.0)
    return TrueNetwork(config.symbols, n_regulators, source_J, target_J, sign_J * scale_J * size_J)


def _number(config: SimulationConfig, rng: np.random.Generator) -> int:
    return int(rng.integers(1, config.max_regulators + 1))


def _choose(rng: np.random.Generator, weight_R: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Positions of `number` different regulators, or of all if there are fewer."""
    possible = int(np.count_nonzero(weight_R))
    if number == 0 or possible == 0:
        return np.empty(0, dtype=np.int64)
    return rng.choice(len(weight_R), min(number, possible), replace=False, p=weight_R / weight_R.sum())


def random_programs(config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Input of each regulator in each cell type, regulators x types; 0 for an inactive regulator.

    Active are the regulators of the type itself and those of its family, which all its members share.
    """
    families = -(-config.types // config.family_size)
    shared, own = (
        np.stack([_program(config, rng) for _ in range(number)], axis=1) for number in (families, config.types)
    )
    if config.family_size == 1:
        return own.astype(np.float32)
    return np.maximum(own, shared[:, np.arange(config.types) // config.family_size]).astype(np.float32)


def _program(config: SimulationConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    strength_R = np.zeros(config.regulators)
    number = max(1, round(config.program_share * config.regulators))
    on = rng.choice(config.regulators, number, replace=False)
    strength_R[on] = config.program_strength * rng.uniform(0.5, 1.5, number)
    return strength_R
