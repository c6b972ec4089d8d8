"""`sctransformer prior score`: what a network knows about cells, compared with rewired networks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.cli.display import print_fields
from sctransformer.cli.options import option_for
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError
from sctransformer.prior.settings import PriorSettings
from sctransformer.progress import cells_bar, status_line

if TYPE_CHECKING:
    import pandas as pd

    from sctransformer.evaluation.prior_score import Populations, Scorecard, Stimulation

_TABLE = "tab-separated, plain or gzipped, or Parquet"
_MAX_CELLS = 2000
_SHUFFLES = 100


def score(
    network: Annotated[Path, typer.Argument(help="A network, in any format that `prior build` reads.")],
    cells: Annotated[Path, typer.Argument(help="Cells with raw counts (h5ad, zarr).")],
    group_column: Annotated[
        str | None, typer.Option(help="Column of obs with the condition or the population of each cell.")
    ] = None,
    stimulated: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Condition in which the expected regulators are more active.")
    ] = None,
    expected: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Regulators that the stimulation activates.")
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help=f"Known regulators: columns cell_type, regulator; {_TABLE}."),
    ] = None,
    knock_outs: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help=f"Measured effects of knock-outs: columns regulator, target; {_TABLE}."),
    ] = None,
    shuffles: Annotated[int, typer.Option(min=2, help="Number of rewired networks.")] = _SHUFFLES,
    max_cells: Annotated[int, typer.Option(min=20, help="Size of the random sample of cells.")] = _MAX_CELLS,
    min_targets: Annotated[int, option_for(PriorSettings, "min_targets")] = PriorSettings().min_targets,
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all values to this file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with charts.")] = None,
) -> None:
    """Measure what a network knows about cells: each value beside those of rewired networks with the same degrees.

    Hidden genes are always measured: how much of a gene's expression the activities of its regulators explain, where an
    activity does not see the gene itself. So are hidden edges: a fifth of the edges is held out, and the value is the
    mean correlation of their targets with the mean of the regulator's other targets. Two columns of cells and two
    tables add more: regulators that a stimulation must activate, known regulators of populations, and effects of
    knock-outs. No model is trained. `prior compare` shows the difference of two files that --json wrote.

    A network passes a measurement if the 95 % interval of its difference to the rewired networks is above 0.

    Example: sctransformer prior score collectri.tsv.gz ifn.h5ad --group-column condition --stimulated stim
    --expected STAT1,STAT2,IRF9 --html score.html
    """
    from sctransformer.cli.prior_inputs import read_renamed
    from sctransformer.data.expression import read_counts
    from sctransformer.evaluation.held_out_edges import HELD_OUT_SHARE
    from sctransformer.evaluation.prior_score import expressed_genes, score_network
    from sctransformer.files import write_json

    _require_together(group_column, stimulated, expected, known)
    with status_line(f"Reading {network}"):
        prior = read_renamed(network)
        effects = None if knock_outs is None else _table(knock_outs, ("regulator", "target"))
    with status_line(f"Reading {cells}"):
        counted = read_counts(cells, gene_column, max_cells, seed)
        try:
            expression, inside = expressed_genes(counted, prior, min_targets)
        except UserError as error:
            raise UserError(f"{network}, {cells}: {error}") from error
    summary = (
        f"{inside.size()}, with at least {min_targets} targets among the {len(expression.genes):,} expressed genes of "
        f"{cells} ({len(counted.obs):,} cells)"
    )
    typer.echo(f"{network}: {summary}")
    with cells_bar("Scoring networks") as on_progress:
        card = score_network(
            inside,
            expression,
            stimulation=_stimulation(counted.obs, cells, group_column, stimulated, expected, inside.regulators),
            populations=_populations(counted.obs, cells, group_column, known),
            knock_outs=effects,
            hidden_edges=HELD_OUT_SHARE,
            shuffles=shuffles,
            seed=seed,
            on_progress=on_progress,
        )
    _print(card)
    if knock_outs is not None and "knock-outs" not in {one.name for one in card.measurements}:
        typer.echo(f"Note: no edge has both ends in {knock_outs}; knock-outs are not measured.", err=True)
    if json is not None:
        content = {"network": str(network), "cells": str(cells), "n_cells": len(counted.obs), "seed": seed}
        content |= {"edges": len(inside), "regulators": len(inside.regulators), "shuffles": shuffles}
        content |= {"measurements": [one.to_json() for one in card.measurements], "evidence": card.evidence}
        write_json(json, content)
        typer.echo(f"{json}: all values")
    if html is not None:
        from sctransformer.evaluation.prior_page import write_page

        write_page(html, card, network.name, summary)
        typer.echo(f"{html}: open it in a browser")


def _require_together(
    group_column: str | None, stimulated: str | None, expected: str | None, known: Path | None
) -> None:
    if (stimulated is None) != (expected is None):
        raise UserError("--stimulated and --expected belong together: name the condition and its regulators.")
    if group_column is None and (stimulated is not None or known is not None):
        raise UserError("--group-column is missing: name the column of obs with the condition or population of a cell.")
    if group_column is not None and stimulated is None and known is None:
        raise UserError("--group-column needs --stimulated with --expected, or --known: nothing is measured with it.")


def _groups(obs: "pd.DataFrame", cells: Path, column: str) -> list[str]:
    from sctransformer.wording import some

    if column not in obs:
        raise UserError(f"{cells}: obs has no column {column!r}; it has {some(sorted(map(str, obs.columns)))}.")
    return [str(value) for value in obs[column]]


def _stimulation(
    obs: "pd.DataFrame", cells: Path, column: str | None, value: str | None, expected: str | None, regulators: list[str]
) -> "Stimulation | None":
    import numpy as np

    from sctransformer.evaluation.prior_score import Stimulation
    from sctransformer.wording import some

    if column is None or value is None or expected is None:
        return None
    groups = np.array(_groups(obs, cells, column), dtype=object)
    inside_N = groups == value
    if not inside_N.any() or inside_N.all():
        names = some(sorted(set(groups.tolist())))
        raise UserError(
            f"{cells}: {'no cell' if not inside_N.any() else 'every cell'} has {value!r} in obs[{column!r}], which "
            f"holds {names}; expected stimulated and other cells."
        )
    wanted = [name.strip() for name in expected.split(",") if name.strip()]
    if not set(wanted) & set(regulators):
        raise UserError(f"--expected {expected}: none is a regulator of the network among the genes of {cells}.")
    return Stimulation(inside_N, wanted)


def _populations(obs: "pd.DataFrame", cells: Path, column: str | None, known: Path | None) -> "Populations | None":
    from sctransformer.evaluation.prior_score import Populations
    from sctransformer.wording import some

    if column is None or known is None:
        return None
    groups, table = _groups(obs, cells, column), _table(known, ("cell_type", "regulator"))
    found = {str(name): sorted(set(own)) for name, own in table.groupby("cell_type")["regulator"]}
    if not set(found) & set(groups):
        raise UserError(
            f"{known}: none of its populations ({some(sorted(found))}) is in obs[{column!r}] of {cells}, which holds "
            f"{some(sorted(set(groups)))}."
        )
    return Populations(groups, found)


def _table(path: Path, columns: tuple[str, str]) -> "pd.DataFrame":
    """The two columns of a table as text."""
    import pandas as pd

    from sctransformer.prior.tables import header_of, is_parquet, parquet_table, read_text, text_table

    if is_parquet(path):
        table = parquet_table(path)
    else:
        text = read_text(path)
        table = text_table(path, text, header_of(path, text)[1])
    if absent := [name for name in columns if name not in table.names]:
        raise UserError(f"{path}: has no column {absent[0]}; expected the columns {' and '.join(columns)}.")
    return pd.DataFrame({name: table.column(name).astype(str) for name in columns})


def _print(card: "Scorecard") -> None:
    """Three lines per measurement, its parts, and how many regulators beat the rewired networks."""
    rows = []
    for one in card.measurements:
        mean, low, high = one.difference
        without = "" if one.without_network is None else f", own mRNA {one.without_network:.4f}"
        rows += [
            (one.name, f"{'passed' if one.passed else 'not passed'} ({one.detail})"),
            ("", f"network {one.network:.4f}, shuffled {one.network - mean:.4f}{without}"),
            ("", f"difference {mean:+.4f} ({low:+.4f} to {high:+.4f}), above {one.percentile:.0f} % of the shuffled"),
        ]
        rows += [("", f"{name}: {value:.3f}") for name, value in one.more.items()]
    beat = sum(value >= BEATS_SHUFFLES for value in card.evidence.values())
    limit = f"{100 * BEATS_SHUFFLES:.0f} %"
    rows.append(("regulators", f"targets of {beat:,} of {len(card.evidence):,} vary together more than in {limit}"))
    print_fields([*rows, ("", "of the shuffled networks")])
