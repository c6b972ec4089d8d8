"""Simulation of cells from a known network, in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.simulated_network import SimulationConfig, TrueNetwork, random_network, random_programs

BLOCK = 256
"""Cells per block, each with its own random generator. Changing it would change all simulated cells."""
_STRUCTURE, _CELLS = 0, 1
"""Random streams of a seed."""
_LARGEST_LOG_RATE = 14.0
"""About a million counts of a gene in a cell, so that extreme settings do not overflow."""
_COARSE = 2**16


@dataclass(frozen=True)
class SimulatedCells:
    """Consecutive simulated cells."""

    counts_NG: sparse.csr_matrix
    """Raw counts, cells x genes (float32, sorted indices)."""
    library_size_N: NDArray[np.float64]
    """Total counts of each cell: those in X and those of genes that are not simulated."""
    type_N: NDArray[np.int64]
    donor_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.type_N)


@dataclass(frozen=True)
class Simulation:
    """Simulated cells with a known network, cell types and donors.

    The activity of a regulator in a cell depends on the program of the type, its own regulators and noise:
    a = cascade (program + noise), s = tanh(a). A gene's log rate is its baseline, its donor's shift and the
    signed, weighted sum of its regulators' s in that cell. Rates times the cell's depth are the expected counts, and
    gamma noise and Poisson sampling give the counts.

    The model follows two published simulators; their code is not used. SERGIO (Dibaeinia and Sinha 2020,
    https://doi.org/10.1016/j.cels.2020.08.003): a given signed network, types as programs of master regulators, one
    saturating contribution per regulator (there a Hill function of its concentration, and a stochastic differential
    equation where this takes one step). Splatter (Zappia et al. 2017, https://doi.org/10.1186/s13059-017-1305-0):
    log-normal library sizes, multiplicative shifts of batches (here donors), gamma-Poisson counts, optional dropout.
    """

    config: SimulationConfig

    @cached_property
    def _structure(self) -> tuple[TrueNetwork, NDArray[np.float32], NDArray[np.float32]]:
        """The network, the programs (regulators x types) and the log baselines (genes x donors)."""
        config = self.config
        rng = self._generator(_STRUCTURE)
        network = random_network(config, rng)
        programs_RC = random_programs(config, rng)
        spread = config.expression_spread
        baseline_G = rng.normal(-(spread**2) / 2, spread, config.genes)  # so that the mean rate is near 1
        usual_R = np.tanh(network.cascade @ programs_RC) @ self.type_shares
        baseline_G -= network.response @ usual_R  # regulation moves counts between cells and adds none
        donor_shift = rng.normal(0.0, config.donor_effect, (config.genes, config.donors))
        return network, programs_RC, (baseline_G[:, None] + donor_shift).astype(np.float32)

    @property
    def network(self) -> TrueNetwork:
        """The true edges."""
        return self._structure[0]

    @property
    def type_names(self) -> list[str]:
        """Names of the cell types, most frequent first."""
        return [f"type{index + 1}" for index in range(self.config.types)]

    @property
    def donor_names(self) -> list[str]:
        """Names of the donors."""
        return [f"donor{index + 1}" for index in range(self.config.donors)]

    @cached_property
    def type_shares(self) -> NDArray[np.float64]:
        """Expected fraction of each type among the cells."""
        weight_C = np.arange(1, self.config.types + 1, dtype=np.float64) ** -self.config.type_skew
        return weight_C / weight_C.sum()

    def block(self, index: int) -> SimulatedCells:
        """The `BLOCK` cells from `index * BLOCK` on; they do not depend on other blocks."""
        config = self.config
        network, programs_RC, donor_baseline = self._structure
        rng = self._generator(_CELLS, index)
        type_N = rng.choice(config.types, BLOCK, p=self.type_shares)
        donor_N = rng.integers(config.donors, size=BLOCK)
        depth_N = config.library_size * np.exp(config.library_spread * rng.standard_normal(BLOCK))
        genome = max(config.genome_genes, config.genes)

        input_RN = programs_RC[:, type_N] + np.float32(config.regulator_noise) * rng.standard_normal(
            (config.regulators, BLOCK), dtype=np.float32
        )
        activity_RN = np.tanh(network.cascade @ input_RN)
        log_rate_GN = network.response @ activity_RN  # sparse products do not depend on the number of threads
        log_rate_GN += np.take(donor_baseline, donor_N, axis=1)
        log_rate_GN += np.log(depth_N / genome).astype(np.float32)
        np.minimum(log_rate_GN, _LARGEST_LOG_RATE, out=log_rate_GN)
        counts_NG = sample_counts(
            np.exp(log_rate_GN, out=log_rate_GN), config.dispersion, config.dropout, rng
        ).T.tocsr()
        in_genes_N = np.asarray(counts_NG.sum(axis=1, dtype=np.float64)).ravel()
        library_size_N = in_genes_N + rng.poisson(depth_N * (1 - config.genes / genome)).astype(np.float64)
        return SimulatedCells(counts_NG, library_size_N, type_N, donor_N)

    def cells(self, start: int, stop: int) -> SimulatedCells:
        """The cells from `start` up to `stop`, or up to the last; only the blocks needed are simulated.

        Raises:
            ValueError: there are no such cells.
        """
        stop = min(stop, self.config.cells)
        if not 0 <= start < stop:
            raise ValueError(f"cells {start} to {stop} of {self.config.cells} do not exist")
        parts = []
        for index in range(start // BLOCK, -(-stop // BLOCK)):
            block, first = self.block(index), index * BLOCK
            inside = slice(max(start - first, 0), min(stop - first, BLOCK))
            parts.append(
                (block.counts_NG[inside], block.library_size_N[inside], block.type_N[inside], block.donor_N[inside])
            )
        counts, sizes, types, donors = zip(*parts, strict=True)
        return SimulatedCells(
            sparse.vstack(counts, format="csr"), np.concatenate(sizes), np.concatenate(types), np.concatenate(donors)
        )

    def chunks(self, rows: int) -> Iterator[tuple[int, SimulatedCells]]:
        """All cells, `rows` at a time: position of the first one, and the cells.

        The cells do not depend on `rows`; with a multiple of `BLOCK` no cell is simulated twice.
        """
        for start in range(0, self.config.cells, rows):
            yield start, self.cells(start, start + rows)

    def obs(self, start: int, cells: SimulatedCells) -> pd.DataFrame:
        """The table of cells from position `start`.

        Columns library_size (float64), cell_type and donor_id (categorical with all types and donors).
        """
        return pd.DataFrame(
            {
                OBS.library_size: cells.library_size_N,
                OBS.cell_type: pd.Categorical.from_codes(cells.type_N, pd.Index(self.type_names)),
                OBS.donor: pd.Categorical.from_codes(cells.donor_N, pd.Index(self.donor_names)),
            },
            index=[f"cell{index}" for index in range(start, start + len(cells))],
        )

    def _generator(self, *stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(self.config.seed, spawn_key=stream)))


def sample_counts(
    rate_GN: NDArray[np.float32], dispersion: float, dropout: float, rng: np.random.Generator
) -> sparse.csr_matrix:
    """Draw negative binomial counts; most of the work is for non-zero counts only.

    A count is the number of arrivals in [0, 1) of a Poisson process whose intensity is gamma distributed with mean
    `rate` and squared coefficient of variation 1/r = `dispersion`. The first arrival T has
    P(T > t) = (1 + rate t/r)^-r; where T < 1, the intensity given T is Gamma(r + 1, r/rate + T), and the rest arrives
    in the time left. So one uniform number V decides whether an entry is zero, and only the others draw on. Of V 16
    bits are drawn first, and the rest only where these leave open that V < P(T < 1) <= rate. Exact in distribution.

    Args:
        rate_GN: expected counts.
        dispersion: squared coefficient of variation; 0 gives Poisson counts.
        dropout: see `SimulationConfig.dropout`.
        rng: random generator.

    Returns:
        Counts of the same shape, float32 CSR with sorted indices and without stored zeros.
    """
    coarse_GN = rng.integers(0, _COARSE, size=rate_GN.shape, dtype=np.uint16)
    open_P = np.flatnonzero(coarse_GN < rate_GN * np.float32(_COARSE))
    fine_P = rng.random(len(open_P), dtype=np.float32)  # 24 bits: their sum with 16 is exact, and never 1
    uniform_P = (coarse_GN.ravel()[open_P] + fine_P.astype(np.float64)) / _COARSE
    rate_P = rate_GN.ravel()[open_P].astype(np.float64)
    waited_P = -np.log1p(-uniform_P)
    if dispersion > 0:
        waited_P = np.expm1(waited_P * dispersion) / dispersion
    hit_P = waited_P < rate_P
    place_P, rate_P = open_P[hit_P], rate_P[hit_P]
    first_P = waited_P[hit_P] / rate_P
    left_P = rate_P * (1 - first_P)
    if dispersion > 0:
        shape = 1 / dispersion + 1
        left_P *= rng.standard_gamma(shape, len(left_P)) / (shape - 1 + rate_P * first_P)
    count_P = 1 + rng.poisson(left_P)
    if dropout > 0:
        kept_P = rng.random(len(rate_P)) * (dropout + rate_P) < rate_P
        place_P, count_P = place_P[kept_P], count_P[kept_P]
    n_genes, n_cells = rate_GN.shape
    gene_P, cell_P = np.divmod(place_P, n_cells)
    starts = np.searchsorted(gene_P, np.arange(n_genes + 1))
    return sparse.csr_matrix((count_P.astype(np.float32), cell_P, starts), shape=rate_GN.shape)
