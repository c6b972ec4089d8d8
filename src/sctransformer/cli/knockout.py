"""`sctransformer simulate`: what a model associates with a low or high activity of a regulator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.cli.display import print_fields
from sctransformer.errors import UserError
from sctransformer.progress import cells_bar

if TYPE_CHECKING:
    from sctransformer.annotation.perturbation import Simulation

_GENES_SHOWN = 10
_NOTE = "This is what the model associates with the activity in these cells, not a measured effect of a knock-out."


def simulate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundle's folder, NAME@ALIAS or NAME/VERSION.", show_default=False)
    ],
    cells: Annotated[
        Path, typer.Argument(metavar="CELLS", help="Raw counts: an h5ad file or a zarr folder.", show_default=False)
    ],
    knockout: Annotated[
        str | None, typer.Option(metavar="REGULATOR", help="Set the activity of this regulator low.")
    ] = None,
    activate: Annotated[
        str | None, typer.Option(metavar="REGULATOR", help="Set the activity of this regulator high.")
    ] = None,
    rewired: Annotated[int, typer.Option(min=20, help="Number of rewired networks to compare with.")] = 20,
    max_cells: Annotated[int, typer.Option(min=50, help="Size of the random sample of cells.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Also simulate a regulator that does not beat rewired networks.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all values to this file.")] = None,
) -> None:
    """Simulate a low or high activity of a regulator: which targets and labels the model expects to change.

    The activity is set to 2 standard deviations below (or above) its mean in the training cells. Each target follows by
    its slope on the activity without the target itself, fitted within labels in these cells, and labels follow from
    targets and activity. This is one step: other regulators stay as they are. It is an association, not a measured
    effect: the signs of measured knock-outs were predicted no better than with rewired networks (pipelines/robustness).

    Beside it are the mean (no change) and rewired networks with the same degrees. A regulator whose targets vary
    together no more than in 95 % of rewired networks is refused. Simulated cells are made by `data simulate`.

    Example: sctransformer simulate celltype@champion new.h5ad --knockout IRF9
    """
    if (knockout is None) == (activate is None):
        raise UserError("simulate needs one of --knockout REGULATOR and --activate REGULATOR.")
    from sctransformer.annotation.label_weights import read_label_weights
    from sctransformer.annotation.model import checked_settings
    from sctransformer.annotation.perturbation import require_regulator
    from sctransformer.annotation.perturbation import simulate as simulated
    from sctransformer.annotation.reading import check_cells, open_cells
    from sctransformer.annotation.target_response import measured_cells
    from sctransformer.registry.loading import load_model

    name = knockout or activate or ""
    loaded = load_model(model)
    warning = require_regulator(loaded.bundle, name, force)
    settings = checked_settings(regulators="top")
    with open_cells(cells, loaded.bundle.vocabulary, settings.counts) as opened:
        read = check_cells(opened, loaded.bundle.vocabulary, settings.min_coverage)
        read.log_notes()
        read.require_one_panel()
        sample = measured_cells(read, loaded.scorer(settings.scoring).labeller(read), max_cells, seed)
    with cells_bar("Rewired networks") as on_progress:
        found = simulated(
            loaded.bundle,
            read_label_weights(loaded.bundle),
            sample,
            name,
            activate=activate is not None,
            rewired=rewired,
            seed=seed,
            on_progress=on_progress,
        )
    if warning:
        typer.echo(f"Warning: {warning}", err=True)
    _print(found, "activated" if activate is not None else "knocked out", len(sample.probabilities_NC), cells)
    if json is not None:
        from sctransformer.files import write_json

        tables = {name: getattr(found, name).to_dict("records") for name in ("genes", "types")}
        write_json(json, found._asdict() | tables | {"note": _NOTE, "warning": warning, "cells": str(cells)})
        typer.echo(f"{json}: all values")


def _print(found: "Simulation", how: str, n_cells: int, cells: Path) -> None:
    typer.echo(
        f"{found.regulator} {how} in {n_cells:,} cells of {cells}: mean activity from {found.before:+.2f} to "
        f"{found.after:+.2f} standard deviations of the training cells"
    )
    evidence = "not measured" if found.evidence is None else f"beats {found.evidence:.0%} of rewired networks"
    rows = [
        ("evidence", evidence),
        ("R2 of targets", f"{found.r2:.4f} on held-out cells; mean (no change) 0; {_beside(found.r2_rewired, '.4f')}"),
        ("mean change", f"{found.size:.3f} standard deviations per target; {_beside(found.size_rewired, '.3f')}"),
        ("labels changed", f"{found.changed:.2%} of the cells; {_beside(found.changed_rewired, '.2%')}"),
    ]
    rows += [
        (
            "genes" if index == 0 else "",
            f"{gene.gene} {gene.change:+.3f} standard deviations ({gene.log_change:+.3f} log expression)",
        )
        for index, gene in enumerate(found.genes.head(_GENES_SHOWN).itertuples())
    ]
    rows += [
        (
            "cell types" if index == 0 else "",
            f"{one.cell_type}: {one.changed:.1%} of {one.cells:,} cells change label, log probability "
            f"{one.log_probability:+.3f}",
        )
        for index, one in enumerate(found.types.itertuples())
    ]
    print_fields([*rows, ("note", _NOTE)])


def _beside(values: list[float], form: str) -> str:
    """The values of rewired networks in a phrase."""
    if not values:
        return "rewired networks have too few measured targets"
    mean = sum(values) / len(values)
    return f"{len(values)} rewired networks {mean:{form}} ({min(values):{form}} to {max(values):{form}})"
