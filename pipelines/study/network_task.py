"""One result of `pipelines.study.network`: train a model on cells and a network, and measure what it recovers."""

import functools
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse

from pipelines.study.cells import read_networks
from pipelines.study.config import NetworkSection
from pipelines.study.network_config import Arm, CellsSection, NetworkStudy
from sctransformer.data.arrays import NO_LABEL, CellArrays, TrainingCells
from sctransformer.data.expression import CountedCells, read_counts
from sctransformer.data.moments import GeneMoments
from sctransformer.data.panel import choose_expressed_panel
from sctransformer.evaluation.recovery import (
    column_auroc,
    combined_score,
    edge_recovery,
    effective_targets,
    known_regulator_recovery,
    population_t,
    univariate_activity,
)
from sctransformer.evaluation.regulators import correlation
from sctransformer.model import ActivityTransformer
from sctransformer.model.activity import ActivityDecoder, MaskedActivityModel
from sctransformer.model.edge_attention import EdgeAttention
from sctransformer.params import Params, with_values
from sctransformer.prior.controls import held_out
from sctransformer.prior.edge_list import EdgeList
from sctransformer.prior.network import Network
from sctransformer.training.build import build_model, control_of, model_config, network_prior, panel_network
from sctransformer.training.closed_form import regulator_activity
from sctransformer.training.objectives import sample_shown_genes
from sctransformer.training.trainer import Trainer

HELD_OUT_SHARE = 0.2
_BATCH = 250
_PERMUTATIONS = 10
_ATTENTION_CELLS = 200


class Run(NamedTuple):
    """Which model is trained."""

    cells: str
    arm: Arm
    factors: int
    seed: int
    shuffle: int = 0


class Trained(NamedTuple):
    """A trained model and what it was trained on."""

    model: ActivityTransformer
    decoder: ActivityDecoder
    panel: pd.DataFrame
    cells: CellArrays
    """All cells over the panel."""
    validation_rows_N: NDArray[np.int64]
    unused: Network
    """The edges left out of the network."""


load_cells = functools.lru_cache(maxsize=2)(read_counts)


@functools.lru_cache(maxsize=1)
def load_network(files: str) -> Network:
    """Read the network; `files` is the section as JSON, so that it can be cached."""
    return read_networks(NetworkSection.model_validate_json(files))


def measure(study: NetworkStudy, run: Run) -> dict[str, Any]:
    """Train and measure.

    Returns:
        `metrics`: name -> value; `error_N` and `variance_N` of the hidden genes of validation cells; `resampled`: name
        -> values in bootstrap resamples; `top`: name -> score of each regulator.
    """
    section, everything = study.cells[run.cells], load_cells(study.cells[run.cells].file)
    trained = train(study, run, everything)
    result: dict[str, Any] = {"metrics": {}, "resampled": {}, "top": {}, "regulators": trained.model.edges.regulators}
    if run.arm != "untrained":
        error_N, variance_N = hidden_errors(trained, run.seed)
        result |= {"error_N": error_N.tolist(), "variance_N": variance_N.tolist()}
        result["metrics"]["r2"] = 1.0 - error_N.sum() / variance_N.sum()
    if run.arm == "factors":
        return result
    rows_N = np.arange(len(trained.cells))
    activity_NR = regulator_activity(trained.model, [trained.cells], rows_N)
    if run.arm == "held_out":
        result["metrics"] |= hidden_edge_metrics(study, trained, activity_NR, run.seed)
        return result
    metrics = {"regulators": trained.model.config.n_regulators, "edges": len(trained.model.edges)}
    result["metrics"] |= metrics | attention_metrics(trained)
    add_biology(result, section, everything, trained, activity_NR, run.arm)
    if section.knock_out and study.knock_out is not None:
        for name, score_J in edge_scores(trained).items():
            add_knock_outs(result, name, score_J, trained, study.knock_out)
    return result


def train(study: NetworkStudy, run: Run, everything: CountedCells) -> Trained:
    """Split the cells, choose the panel from the training cells and train; labels are not used."""
    values = {"train.pretrain_epochs": 1, **study.parameters, "model.factors": run.factors}
    params = with_values(Params(), values)
    order_N = np.random.default_rng(run.seed).permutation(len(everything.obs))
    n_validation = min(study.validation_cells, len(order_N) // 2)
    validation_rows_N, rows_N = np.sort(order_N[:n_validation]), np.sort(order_N[n_validation:])
    moments = GeneMoments(len(everything.genes))
    moments.add(everything.counts_NG[rows_N], everything.library_size_N[rows_N])
    network = load_network(study.network.model_dump_json())
    panel = choose_expressed_panel(moments, everything.genes, network.pairs)
    genes, n_regulators = panel["gene"].tolist(), int(panel["is_regulator"].sum())
    inside, unused = panel_network(network, genes, params.model, params.prior), Network(network.edges.iloc[:0])
    if run.arm == "held_out":
        inside, unused = held_out(inside, HELD_OUT_SHARE, run.seed)
    if run.arm == "shuffled":
        control_seed = 1000 * (run.shuffle + 1) + run.seed
        inside = control_of("shuffled", inside, genes, n_regulators, params.model, control_seed)
    prior = network_prior(params.model, inside, genes, n_regulators, params.prior.min_targets)
    if run.arm == "factors":
        prior = _no_edges(len(genes))
        params = with_values(params, {"prior.strength": 0.0})
    model = build_model(model_config(params.model, panel, 2, prior), prior, run.seed, panel)
    column = {gene: index for index, gene in enumerate(everything.genes)}
    counts_NG = everything.counts_NG[:, [column[gene] for gene in genes]].toarray()
    labels_N = np.full(len(counts_NG), NO_LABEL, dtype=np.int64)
    cells = CellArrays(counts_NG, everything.library_size_N.astype(np.float32), labels_N)
    assert isinstance(model, ActivityTransformer)
    decoder = model.new_decoder()
    if run.arm != "untrained":
        checkpoint = Trainer(model, TrainingCells(cells.take(rows_N)), params.train_config(run.seed)).fit()
        decoder.load_state_dict(checkpoint.decoder)
    return Trained(model.eval(), decoder.eval(), panel, cells, validation_rows_N, unused)


@torch.no_grad()
def hidden_errors(trained: Trained, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared error and variance of each validation cell over its hidden genes, the same genes in all arms."""
    together, errors, variances = MaskedActivityModel(trained.model, trained.decoder), [], []
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(trained.validation_rows_N), _BATCH):
        batch = trained.cells.take(trained.validation_rows_N[start : start + _BATCH])
        counts_NG, library_size_N = torch.from_numpy(batch.counts_NG), torch.from_numpy(batch.library_size_N)
        hidden_NG = sample_shown_genes(generator, len(batch), batch.n_genes, 0.3) == 0
        z_NG = trained.model.tokens.standardised(counts_NG, library_size_N)
        error_NG = together(counts_NG, library_size_N, hidden_NG) - z_NG
        errors.append((error_NG.square() * hidden_NG).sum(dim=1))
        variances.append((z_NG.square() * hidden_NG).sum(dim=1))
    return torch.cat(errors).double().numpy(), torch.cat(variances).double().numpy()


def add_biology(
    result: dict[str, Any],
    section: CellsSection,
    everything: CountedCells,
    trained: Trained,
    activity_NR: NDArray[np.floating],
    arm: Arm,
) -> None:
    """Stimulated against control cells, and known regulators of populations, by activity and by combined score."""
    z_NG, weight_RG = standardised(trained), network_matrix(trained.model.edges)
    with torch.no_grad():
        relative_GN = trained.model.relative(torch.from_numpy(z_NG)).numpy()
    signed_mean_NR = np.asarray((weight_RG @ relative_GN).T)
    result["metrics"]["agreement"] = float(np.nanmean(correlation(activity_NR, signed_mean_NR)))
    if section.group_column is None:
        return
    own_NR = everything.own_expression(trained.model.edges.regulators)
    scores = {"activity": activity_NR, "combined": combined_score(activity_NR, own_NR), "own": own_NR}
    if arm == "untrained":
        ulm_NR = univariate_activity(z_NG, weight_RG)
        scores |= {"ulm": ulm_NR, "ulm_combined": combined_score(ulm_NR, own_NR)}
    groups_N = everything.obs[section.group_column].astype(str).to_numpy(dtype=object)
    position = {name: index for index, name in enumerate(trained.model.edges.regulators)}
    known: dict[str, set[str]] = {}
    if section.known_regulators is not None:
        pairs = pd.read_csv(section.known_regulators, sep="\t")
        known = {str(name): set(own) for name, own in pairs.groupby(pairs.columns[0])[pairs.columns[1]]}
    for name, values_NR in scores.items():
        if section.high_group is not None:
            auroc_R = column_auroc(values_NR, groups_N == section.high_group)
            found = {one: float(auroc_R[position[one]]) for one in section.expected if one in position}
            result["metrics"] |= {f"auroc {one} {name}": value for one, value in found.items()}
            result["top"][name] = population_t(values_NR, groups_N == section.high_group).tolist()
        if known:
            found = known_regulator_recovery(values_NR, trained.model.edges.regulators, groups_N.tolist(), known)
            result["metrics"] |= {f"lineage {one} {name}": value for one, value in found.items()}
            result["metrics"][f"lineage mean {name}"] = float(np.mean(list(found.values())))
            result["top"] |= {
                f"{one} {name}": population_t(values_NR, groups_N == one).tolist() for one in sorted(set(groups_N))
            }


def attention_metrics(trained: Trained) -> dict[str, float]:
    """Effective number of targets, as a fraction of all targets of a regulator, and the departure of the edges."""
    edges, layer = trained.model.edges, last_layer(trained.model)
    effective_R = effective_targets(attention(trained), edges.regulator_J, edges.n_regulators)
    targets_R = np.bincount(edges.regulator_J, minlength=edges.n_regulators)
    departure = float(layer.departure_J().detach().square().mean().sqrt())
    return {"effective_targets": float(np.mean(effective_R / targets_R)), "departure": departure}


def edge_scores(trained: Trained) -> dict[str, NDArray[np.floating]]:
    """Strength of each edge by several measures; `expression` is a control that uses the target's mean alone."""
    edges, layer = trained.model.edges, last_layer(trained.model)
    targets_R = np.bincount(edges.regulator_J, minlength=edges.n_regulators)
    weight_J = layer.weight_J.detach().abs().numpy()
    attention_J = attention(trained).mean(axis=1) * targets_R[edges.regulator_J]
    message_J = trained.decoder.message.weight_J.detach().abs().numpy()
    mean_J = trained.panel["mean"].to_numpy()[edges.target_J]
    return {"weight": weight_J, "attention": attention_J, "message": message_J, "expression": mean_J}


def add_knock_outs(
    result: dict[str, Any], name: str, score_J: NDArray[np.floating], trained: Trained, file: Path
) -> None:
    """AUROC of edges with a measured effect of the knock-out, among edges whose both ends were measured."""
    edges, measured = trained.model.edges, pd.read_csv(file, sep="\t")
    regulator_J = np.array(edges.regulators, dtype=object)[edges.regulator_J]
    target_J = trained.panel["gene"].to_numpy(dtype=object)[edges.target_J]
    among_J = np.isin(regulator_J, measured["regulator"].unique()) & np.isin(target_J, measured["target"].unique())
    true = set(zip(measured["regulator"], measured["target"], strict=True))
    is_true_J = np.array([pair in true for pair in zip(regulator_J[among_J], target_J[among_J], strict=True)])
    if not 0 < is_true_J.sum() < len(is_true_J):
        return
    value, values_T = edge_recovery(score_J[among_J], is_true_J, edges.regulator_J[among_J], 0)
    result["metrics"] |= {f"knock-out {name}": value, "knock-out edges": len(is_true_J)}
    result["metrics"]["knock-out true edges"] = int(is_true_J.sum())
    result["resampled"][f"knock-out {name}"] = values_T.tolist()


def hidden_edge_metrics(
    study: NetworkStudy, trained: Trained, activity_NR: NDArray[np.floating], seed: int
) -> dict[str, float]:
    """AUROC of the correlation of activity and target: true pairs against the same pairs with permuted targets.

    Permuted, so that a gene is as often a target among the other pairs as among the true ones. Correlations are over
    validation cells. True pairs: edges left out of training, and bound genes that are no edges of the network.
    """
    edges, rows_N = trained.model.edges, trained.validation_rows_N
    genes = {gene: index for index, gene in enumerate(trained.panel["gene"])}
    row = {name: index for index, name in enumerate(edges.regulators)}
    z_NG, activity = standardised(trained)[rows_N], activity_NR[rows_N]
    z_NG, activity = (
        (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6) for values in (z_NG, activity)
    )
    r_RG = activity.T @ z_NG / len(rows_N)
    used = set(zip(edges.regulator_J.tolist(), edges.target_J.tolist(), strict=True))
    pairs = {"held-out edges": trained.unused.pairs}
    if study.binding is not None:
        table = pd.read_parquet(study.binding, columns=["tf", "target"]).drop_duplicates()
        pairs["bound genes"] = list(zip(table["tf"], table["target"], strict=True))
    left_out = {(row[one], genes[other]) for one, other in trained.unused.pairs if one in row and other in genes}
    found = {}
    for name, named in pairs.items():
        true = {(row[one], genes[other]) for one, other in named if one in row and other in genes and one != other}
        true -= used if name == "held-out edges" else used | left_out
        if len(true) < 2:
            continue
        regulator_J, target_J = np.array(sorted(true)).T
        rng, others = np.random.default_rng(seed), []
        for _ in range(_PERMUTATIONS):
            permuted = zip(regulator_J.tolist(), rng.permutation(target_J).tolist(), strict=True)
            others += [pair for pair in permuted if pair not in true and pair not in used]
        scores = np.concatenate([r_RG[regulator_J, target_J], r_RG[tuple(np.array(others).T)]])
        found[name] = float(column_auroc(scores[:, None], np.arange(len(scores)) < len(true))[0])
        found[f"{name}, number"] = len(true)
    return found


def standardised(trained: Trained) -> NDArray[np.float32]:
    """Standardised expression of all cells over the panel."""
    cells = trained.cells
    z_NG = trained.model.tokens.standardised(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))
    return cast(NDArray[np.float32], z_NG.numpy())


def network_matrix(edges: EdgeList) -> sparse.csr_matrix:
    """Sign times confidence, regulators x genes."""
    return sparse.csr_matrix(
        (edges.weight_J, (edges.regulator_J, edges.target_J)), shape=(edges.n_regulators, edges.n_genes)
    )


def last_layer(model: ActivityTransformer) -> EdgeAttention:
    """The attention that gives the activity."""
    return cast(EdgeAttention, model.activities[-1])


@torch.no_grad()
def attention(trained: Trained) -> NDArray[np.float32]:
    """Attention weights of some validation cells, edges x cells."""
    batch = trained.cells.take(trained.validation_rows_N[:_ATTENTION_CELLS])
    z_NG = trained.model.tokens.standardised(torch.from_numpy(batch.counts_NG), torch.from_numpy(batch.library_size_N))
    return cast(NDArray[np.float32], last_layer(trained.model).attention_weights(trained.model.relative(z_NG)).numpy())


def _no_edges(n_genes: int) -> EdgeList:
    """A network of one regulator without targets."""
    none_J, zero_J = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    return EdgeList(["none"], n_genes, none_J, none_J, zero_J, zero_J)
