"""Simulated cells: the counts show the network, programs and donors; chunk sizes do not change them."""

import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from sctransformer._constants import OBS, UNS
from sctransformer.data.cells import read_cells
from sctransformer.data.simulated_file import ROWS, edges_path, estimated_bytes, require_space, write_simulation
from sctransformer.data.simulated_network import SimulationConfig, random_network, random_programs
from sctransformer.data.simulator import BLOCK, SimulatedCells, Simulation, sample_counts
from sctransformer.errors import UserError
from sctransformer.prior.network import read_network_table

SMALL = SimulationConfig(cells=700, genes=60, regulators=8, types=3, donors=2, seed=1)
NO_EDGES_CORRELATION = 0.01


@cache
def simulation(config: SimulationConfig) -> Simulation:
    return Simulation(config)


def all_cells(config: SimulationConfig) -> SimulatedCells:
    return simulation(config).cells(0, config.cells)


def assert_same(one: SimulatedCells, other: SimulatedCells) -> None:
    assert one.counts_NG.shape == other.counts_NG.shape
    assert (one.counts_NG != other.counts_NG).nnz == 0
    for field in ("library_size_N", "type_N", "donor_N"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def log_expression(cells: SimulatedCells) -> np.ndarray:
    return np.log1p(cells.counts_NG.toarray() / cells.library_size_N[:, None] * 1e4)


# the network


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 30), st.integers(0, 60), st.integers(1, 6), st.floats(0, 3), st.floats(0, 1), st.integers(0, 2**32)
)
def test_every_target_has_regulators_every_regulator_a_target_and_there_is_no_cycle(
    regulators: int, more_targets: int, most: int, hubs: float, regulated: float, seed: int
) -> None:
    config = SimulationConfig(
        genes=2 * regulators + more_targets,
        regulators=regulators,
        max_regulators=most,
        hub_exponent=hubs,
        regulated_regulators=regulated,
    )
    network = random_network(config, np.random.default_rng(seed))
    targets, times = np.unique(network.target_J[network.target_J >= regulators], return_counts=True)
    assert targets.tolist() == list(range(regulators, config.genes))
    assert times.max() <= min(most, regulators)
    assert set(network.source_J[network.target_J >= regulators]) == set(range(regulators))
    assert (network.source_J < network.target_J).all()
    assert len(set(zip(network.source_J, network.target_J, strict=True))) == len(network.source_J)
    assert np.isfinite(network.cascade.data).all()


def test_a_few_regulators_have_most_targets() -> None:
    network = simulation(SimulationConfig(genes=1000, regulators=100)).network
    targets_R = np.sort(np.bincount(network.source_J, minlength=100))[::-1]
    assert targets_R[:10].sum() > 3 * targets_R[-50:].sum() / 5
    assert targets_R[0] > 5 * np.median(targets_R)


def test_without_preference_no_regulator_is_a_hub() -> None:
    network = simulation(SimulationConfig(genes=1000, regulators=100, hub_exponent=0)).network
    targets_R = np.bincount(network.source_J, minlength=100)
    assert targets_R.max() < 3 * np.median(targets_R)


def test_effects_pass_along_cascades() -> None:
    network = simulation(SMALL).network
    among = network.target_J < SMALL.regulators
    edges_RR = np.zeros((SMALL.regulators, SMALL.regulators))
    edges_RR[network.target_J[among], network.source_J[among]] = network.weight_J[among]
    assert among.any()
    np.testing.assert_allclose(
        network.cascade.toarray(), np.linalg.inv(np.eye(SMALL.regulators) - edges_RR), rtol=1e-5, atol=1e-6
    )


def test_related_types_share_a_program_and_all_types_differ() -> None:
    programs_RC = random_programs(SimulationConfig(types=6, family_size=2), np.random.default_rng(0))
    shared = lambda one, other: int(((programs_RC[:, one] > 0) & (programs_RC[:, other] > 0)).sum())  # noqa: E731
    assert min(shared(0, 1), shared(2, 3), shared(4, 5)) > max(shared(0, 2), shared(1, 4), shared(3, 5))
    assert len({tuple(program) for program in programs_RC.T}) == 6
    alone_RC = random_programs(SimulationConfig(types=6, family_size=1), np.random.default_rng(0))
    assert ((alone_RC > 0).sum(axis=0) == 15).all()


def test_real_symbols_are_used_for_genes_and_edges() -> None:
    symbols = ("SPI1", "GATA3", "CD3E", "LYZ", "CD8A")
    config = SimulationConfig(genes=5, regulators=2, gene_symbols=symbols)
    table = simulation(config).network.table()
    assert set(table["regulator"]) == {"SPI1", "GATA3"}
    assert {"CD3E", "LYZ", "CD8A"} <= set(table["target"])


# the counts


def test_counts_have_the_distribution_of_samples_from_numpy() -> None:
    rng = np.random.default_rng(0)
    for rate, dispersion in ((0.003, 0.3), (0.2, 0.0), (0.2, 1.5), (1.0, 0.3), (7.0, 0.0), (30.0, 0.4)):
        shape = (20, 20_000)
        counts = sample_counts(np.full(shape, rate, dtype=np.float32), dispersion, 0.0, rng).toarray().ravel()
        expected = stats.nbinom(1 / dispersion, 1 / (1 + rate * dispersion)) if dispersion else stats.poisson(rate)
        edges = np.unique(np.append(expected.ppf([0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999]), 0))
        observed = np.array([(counts <= edges[0]).sum(), *np.diff([(counts <= edge).sum() for edge in edges])])
        observed = np.append(observed, (counts > edges[-1]).sum())
        share = np.append(np.diff(expected.cdf(edges), prepend=0), expected.sf(edges[-1]))
        assert stats.chisquare(observed, share * counts.size).pvalue > 1e-4, (rate, dispersion)


def test_sampled_counts_are_sorted_positive_integers() -> None:
    counts = sample_counts(np.full((50, 70), 0.5, dtype=np.float32), 0.3, 0.2, np.random.default_rng(0))
    counts.check_format(full_check=True)
    assert counts.has_canonical_format
    assert counts.dtype == np.float32
    assert (counts.data >= 1).all()
    assert (counts.data == np.round(counts.data)).all()


def test_dropout_removes_half_of_the_counts_at_its_midpoint_and_few_large_ones() -> None:
    for rate, lost in ((0.5, 0.5), (4.5, 0.1)):
        rate_GN = np.full((100, 5000), rate, dtype=np.float32)
        there, left = (sample_counts(rate_GN, 0.0, dropout, np.random.default_rng(2)).nnz for dropout in (0.0, 0.5))
        assert left / there == pytest.approx(1 - lost, abs=0.01)


def test_extreme_settings_stay_finite() -> None:
    config = replace(SMALL, cells=100, effect=10.0, program_strength=10.0, expression_spread=10.0, library_size=1e7)
    cells = all_cells(config)
    assert np.isfinite(cells.counts_NG.data).all()
    assert (cells.library_size_N >= np.asarray(cells.counts_NG.sum(axis=1)).ravel()).all()


# blocks and seeds


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 900), st.integers(0, 699), st.integers(1, 700))
def test_cells_do_not_depend_on_the_number_sampled_at_once(rows: int, start: int, length: int) -> None:
    whole = all_cells(SMALL)
    starts, parts = zip(*simulation(SMALL).chunks(rows), strict=True)
    assert list(starts) == list(range(0, 700, rows))
    together = sparse.vstack([part.counts_NG for part in parts], format="csr")
    assert (together != whole.counts_NG).nnz == 0
    some = simulation(SMALL).cells(start, start + length)
    inside = slice(start, start + length)
    assert_same(
        some,
        SimulatedCells(
            whole.counts_NG[inside], whole.library_size_N[inside], whole.type_N[inside], whole.donor_N[inside]
        ),
    )


def test_the_same_seed_gives_the_same_cells_and_another_seed_different_ones() -> None:
    assert_same(all_cells(SMALL), Simulation(replace(SMALL)).cells(0, 700))
    other = Simulation(replace(SMALL, seed=2))
    assert (all_cells(SMALL).counts_NG != other.cells(0, 700).counts_NG).nnz > 0
    assert not np.array_equal(simulation(SMALL).network.weight_J, other.network.weight_J)


def test_a_smaller_simulation_gives_the_first_cells_of_a_larger_one() -> None:
    fewer = Simulation(replace(SMALL, cells=300)).cells(0, 300)
    assert_same(fewer, simulation(SMALL).cells(0, 300))


# what is in the cells


def test_the_defaults_look_like_droplet_counts() -> None:
    config = SimulationConfig(cells=1024, genes=2000, regulators=200)
    cells = all_cells(config)
    assert 0.90 < 1 - cells.counts_NG.nnz / (1024 * 2000) < 0.95
    assert (cells.counts_NG.getnnz(axis=1) > 0).all()
    assert 1000 < np.median(cells.library_size_N) < 3000
    assert (cells.counts_NG.data == np.round(cells.counts_NG.data)).all()
    assert (cells.library_size_N >= np.asarray(cells.counts_NG.sum(axis=1)).ravel()).all()


def test_with_all_genes_simulated_library_sizes_equal_row_sums() -> None:
    cells = all_cells(replace(SMALL, genome_genes=60))
    np.testing.assert_array_equal(cells.library_size_N, np.asarray(cells.counts_NG.sum(axis=1)).ravel())


def distance(expression_NG: np.ndarray, one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Squared distance of the mean expression of two groups, corrected for sampling noise."""
    chance = sum((expression_NG[group].var(axis=0, ddof=1) / group.sum()).sum() for group in (one_N, other_N))
    return float(((expression_NG[one_N].mean(axis=0) - expression_NG[other_N].mean(axis=0)) ** 2).sum() - chance)


def test_types_differ_most_related_types_less_and_donors_least() -> None:
    cells = all_cells(SimulationConfig(cells=4096, genes=500, regulators=50, types=4, donors=2, seed=3))
    expression_NG = log_expression(cells)
    relatives = [distance(expression_NG, cells.type_N == one, cells.type_N == one + 1) for one in (0, 2)]
    strangers = [
        distance(expression_NG, cells.type_N == one, cells.type_N == other) for one in (0, 1) for other in (2, 3)
    ]
    donors = distance(expression_NG, cells.donor_N == 0, cells.donor_N == 1)
    assert min(strangers) > max(relatives) > min(relatives) > donors > 0


@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_donors_shift_genes_by_the_requested_amount(effect: float) -> None:
    cells = all_cells(SimulationConfig(cells=4096, genes=300, regulators=30, types=1, donors=2, donor_effect=effect))
    expression_NG = log_expression(cells)
    p_G = stats.ttest_ind(expression_NG[cells.donor_N == 0], expression_NG[cells.donor_N == 1]).pvalue
    significant = float(np.mean(p_G < 0.01))
    assert significant < 0.04 if effect == 0 else significant > 0.2


def test_types_without_a_program_do_not_differ() -> None:
    cells = all_cells(
        SimulationConfig(cells=4096, genes=300, regulators=30, types=2, donors=1, program_strength=0, seed=5)
    )
    expression_NG = log_expression(cells)
    p_G = stats.ttest_ind(expression_NG[cells.type_N == 0], expression_NG[cells.type_N == 1]).pvalue
    assert np.mean(p_G < 0.01) < 0.04


@pytest.mark.parametrize("seed", [0, 1])
def test_within_a_type_edges_correlate_with_their_sign_and_other_pairs_do_not(seed: int) -> None:
    """Correlation of regulator and target over the cells of one type, which share their program.

    An edge is weak against the noise of single counts, so it is the mean over all edges of a sign that is judged
    against the other pairs of a regulator and a target.
    """
    config = SimulationConfig(cells=6144, genes=600, regulators=60, types=2, donors=1, library_size=4000, seed=seed)
    cells, network = all_cells(config), simulation(config).network
    one_type = log_expression(cells)[cells.type_N == 0]
    with np.errstate(invalid="ignore"):  # genes that no cell expresses
        correlation_GG = np.corrcoef(one_type.T)
    edge = correlation_GG[network.source_J, network.target_J]
    no_edge_RG = np.ones((60, 600), dtype=bool)
    no_edge_RG[network.source_J, network.target_J] = False
    no_edge_RG[:, :60] = False
    elsewhere = correlation_GG[:60][no_edge_RG]
    elsewhere = elsewhere[np.isfinite(elsewhere)]
    assert abs(elsewhere.mean()) < NO_EDGES_CORRELATION
    for of_sign, direction in ((network.weight_J > 0, "greater"), (network.weight_J < 0, "less")):
        found = edge[of_sign & np.isfinite(edge)]
        assert abs(found.mean()) > 2 * NO_EDGES_CORRELATION
        assert stats.ttest_ind(found, elsewhere, equal_var=False, alternative=direction).pvalue < 1e-6


def test_without_noise_of_regulators_edges_do_not_correlate_within_a_type() -> None:
    config = SimulationConfig(cells=4096, genes=400, regulators=40, types=1, donors=1, regulator_noise=0, seed=2)
    network = simulation(config).network
    with np.errstate(invalid="ignore"):
        correlation_GG = np.corrcoef(log_expression(all_cells(config)).T)
    signed = correlation_GG[network.source_J, network.target_J] * np.sign(network.weight_J)
    signed = signed[np.isfinite(signed)]
    assert abs(signed.mean()) < 4 * signed.std() / np.sqrt(len(signed))


# settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cells": 0}, "cells is 0; expected at least 1"),
        ({"regulators": 31}, "regulators is 31; expected at most 30, half of the 60 genes"),
        ({"types": 0}, "types is 0; expected at least 1"),
        ({"donors": 1001}, "expected at most 1,000 of each"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"activating_share": 1.1}, "activating_share is 1.1; expected a share from 0 to 1"),
        ({"effect": 0.0}, "effect is 0.0; expected a number above 0"),
        ({"program_share": 0.0}, "program_share is 0.0"),
        ({"dispersion": float("nan")}, "dispersion is nan; expected a number from 0 to 10"),
        ({"library_size": 0.0}, "library_size is 0.0"),
        ({"gene_symbols": ("A", "B")}, "2 gene symbols are given for 60 genes"),
        ({"gene_symbols": ("A",) * 60}, "gene symbol 'A' stands 60 times"),
        ({"gene_symbols": (*(f"G{i}" for i in range(59)), "G 1")}, "'G 1' is empty or holds white space"),
    ],
)
def test_the_error_for_an_invalid_setting_says_what_was_expected(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(SMALL, **changes)


def test_positions_outside_the_simulation_are_refused() -> None:
    with pytest.raises(ValueError, match="cells 700 to 700 of 700"):
        simulation(SMALL).cells(700, 701)


# files


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "cells.h5ad"
    write_simulation(simulation(SMALL), path, rows=BLOCK)
    return path


def test_the_file_is_valid_anndata_with_all_simulated_values(written: Path) -> None:
    cells, drawn = anndata.read_h5ad(written), all_cells(SMALL)
    assert isinstance(cells.X, sparse.csr_matrix)
    assert (cells.X.dtype, cells.X.has_sorted_indices) == (np.float32, True)
    assert (drawn.counts_NG != cells.X).nnz == 0
    assert cells.var_names.tolist() == SMALL.symbols
    assert cells.obs_names[[0, 699]].tolist() == ["cell0", "cell699"]
    assert cells.obs.columns.tolist() == [OBS.library_size, OBS.cell_type, OBS.donor]
    assert cells.obs[OBS.library_size].dtype == np.float64
    np.testing.assert_array_equal(cells.obs[OBS.library_size], drawn.library_size_N)
    assert cells.obs[OBS.cell_type].cat.categories.tolist() == ["type1", "type2", "type3"]
    np.testing.assert_array_equal(cells.obs[OBS.cell_type].cat.codes, drawn.type_N)
    assert cells.obs[OBS.donor].cat.categories.tolist() == ["donor1", "donor2"]
    np.testing.assert_array_equal(cells.obs[OBS.donor].cat.codes, drawn.donor_N)


def test_the_file_contains_its_settings(written: Path) -> None:
    settings = dict(anndata.read_h5ad(written).uns[UNS.simulation])
    assert SimulationConfig(**{name: float(value) for name, value in settings.items()}) == SMALL


def test_row_pointers_are_wide_enough_for_any_number_of_counts(written: Path) -> None:
    import h5py

    with h5py.File(written) as file:
        assert file["X/indptr"].dtype == np.int64
        assert file["X"].attrs["shape"].tolist() == [700, 60]


def test_the_file_can_be_read_for_training(written: Path) -> None:
    cells = read_cells(written)
    assert (all_cells(SMALL).counts_NG != cells.X).nnz == 0


def test_the_true_edges_are_a_network_table(written: Path) -> None:
    network, true = read_network_table(edges_path(written), {}), simulation(SMALL).network
    names = SMALL.symbols
    signs = {
        (names[source], names[target]): int(np.sign(weight))
        for source, target, weight in zip(true.source_J, true.target_J, true.weight_J, strict=True)
    }
    assert dict(zip(network.pairs, network.edges["sign"], strict=True)) == signs
    assert (network.edges["confidence"] == 1.0).all()


@pytest.mark.parametrize(("rows", "compression"), [(97, None), (ROWS, "lzf"), (BLOCK, "gzip")])
def test_the_written_cells_do_not_depend_on_chunk_size_or_compression(
    written: Path, tmp_path: Path, rows: int, compression: str | None
) -> None:
    write_simulation(simulation(SMALL), tmp_path / "cells.h5ad", compression=compression, rows=rows)
    one, other = anndata.read_h5ad(written), anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert (one.X != other.X).nnz == 0
    assert one.obs.equals(other.obs)
    assert edges_path(written).read_bytes() == edges_path(tmp_path / "cells.h5ad").read_bytes()


def test_an_interrupted_write_leaves_no_partial_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 300:
            raise KeyboardInterrupt

    folder = tmp_path / "simulated"
    with pytest.raises(KeyboardInterrupt):
        write_simulation(simulation(SMALL), folder / "cells.h5ad", stop, rows=BLOCK)
    assert list(folder.iterdir()) == []
    (folder / "cells.h5ad").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_simulation(simulation(SMALL), folder / "cells.h5ad", stop, rows=BLOCK)
    assert [path.name for path in folder.iterdir()] == ["cells.h5ad"]
    assert (folder / "cells.h5ad").read_text() == "before"


def test_a_full_disk_gives_an_error_of_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sctransformer.data.simulated_file._append", full)
    with pytest.raises(UserError, match=r"cells.h5ad: cannot be written \(.*No space left.*check the space"):
        write_simulation(simulation(SMALL), tmp_path / "cells.h5ad", rows=BLOCK)
    assert list(tmp_path.iterdir()) == []


def test_the_required_disk_space_is_checked_before_writing(tmp_path: Path) -> None:
    config = SimulationConfig(cells=20_000, genes=800, regulators=80)
    write_simulation(simulation(config), tmp_path / "cells.h5ad")
    size = (tmp_path / "cells.h5ad").stat().st_size
    assert 1.0 < estimated_bytes(simulation(config)) / size < 1.4
    require_space(simulation(config), tmp_path / "new" / "folder")
    with pytest.raises(UserError, match=r"1,000,000,000,000 cells of 800 genes need about .* GB, but the disk has"):
        require_space(Simulation(replace(config, cells=10**12)), tmp_path / "new" / "folder")


MEMORY = """
import resource, sys
from pathlib import Path
from sctransformer.data.simulated_file import write_simulation
from sctransformer.data.simulated_network import SimulationConfig
from sctransformer.data.simulator import Simulation
write_simulation(Simulation(SimulationConfig(cells=int(sys.argv[1]), genes=1000)), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_cells(tmp_path: Path) -> None:
    def peak(cells: int) -> int:
        command = [sys.executable, "-c", MEMORY, str(cells), str(tmp_path / f"{cells}.h5ad")]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    small, large = peak(20_000), peak(80_000)
    assert large < 1.1 * small
    assert (tmp_path / "80000.h5ad").stat().st_size > 3.5 * (tmp_path / "20000.h5ad").stat().st_size


def test_all_settings_except_the_symbols_are_scalars() -> None:
    assert all(isinstance(value, int | float) for name, value in asdict(SMALL).items() if name != "gene_symbols")
