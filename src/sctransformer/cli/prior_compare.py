"""`sctransformer prior compare`: two networks, or two scorecards of networks, compared."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sctransformer.cli.display import print_fields
from sctransformer.cli.options import option_for
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError
from sctransformer.prior.settings import PriorSettings
from sctransformer.progress import cells_bar, status_line

if TYPE_CHECKING:
    from sctransformer.evaluation.card_comparison import StoredCard
    from sctransformer.prior.network import Network


def compare(
    first: Annotated[
        Path,
        typer.Argument(help="A network, in any format that `prior build` reads; or a file of `prior score --json`."),
    ],
    second: Annotated[Path, typer.Argument(help="Another one of the same kind.")],
    cells: Annotated[
        Path | None, typer.Option(help="Cells with raw counts: score both networks on them, see `prior score`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --cells: count the labels of this model that depend on the network."),
    ] = None,
    shuffles: Annotated[int, typer.Option(min=2, help="With --cells: number of rewired networks.")] = 100,
    max_cells: Annotated[int, typer.Option(min=50, help="With --cells: size of the random sample of cells.")] = 2000,
    min_targets: Annotated[int, option_for(PriorSettings, "min_targets")] = PriorSettings().min_targets,
    gene_column: Annotated[str | None, option_for(CellColumns, "gene_column")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all values to this file.")] = None,
) -> None:
    """Show what two networks share, and how often their signs agree; or how much more the second knows about cells.

    Of two files of `prior score --json`, or with --cells, each measurement of the second network is compared with that
    of the first, and the regulators that beat rewired networks in only one of them are named. With --model too, the
    activities in the model's label map are exchanged, from the first network to the second, without training again: the
    labels that change depend on the network.

    Example: sctransformer prior compare mine.tsv collectri.tsv.gz --cells cells.h5ad --model celltype@champion
    """
    from sctransformer.cli.prior import number, report_reading
    from sctransformer.cli.prior_inputs import read_renamed
    from sctransformer.evaluation.card_comparison import compare_cards, read_card

    are_cards = [path.suffix == ".json" for path in (first, second)]
    if any(are_cards) and not all(are_cards):
        raise UserError(f"{first}, {second}: one is a scorecard and one is not; give two networks or two scorecards.")
    if model is not None and cells is None:
        raise UserError("--model needs --cells: name the cells whose labels are compared.")
    if all(are_cards):
        if cells is not None:
            raise UserError(
                f"{first}: is a scorecard, which --cells cannot score; give networks, or leave out --cells."
            )
        found: dict[str, Any] = compare_cards(read_card(first), read_card(second))
        _print_cards(found)
        _write(json, found, first, second)
        return
    from sctransformer.prior.comparison import compare as compare_networks

    networks = []
    for path in (first, second):
        with status_line(f"Reading {path}"):
            networks.append(read_renamed(path))
        report_reading(str(path), networks[-1])
    metrics = compare_networks(*networks)
    if not metrics["signed_edges_shared"]:
        metrics.pop("sign_agreement")
    print_fields((name.replace("_", " "), number(value)) for name, value in metrics.items())
    found = dict(metrics)
    if cells is not None:
        cards = _score(networks, cells, gene_column, max_cells, min_targets, shuffles, seed)
        found |= compare_cards(*cards)
        _print_cards(found)
        if model is not None:
            found["labels"] = _labels(model, cells, networks, max_cells, seed)
    _write(json, found, first, second)


def _score(
    networks: "list[Network]",
    cells: Path,
    gene_column: str | None,
    max_cells: int,
    min_targets: int,
    shuffles: int,
    seed: int,
) -> "list[StoredCard]":
    from sctransformer.data.expression import read_counts
    from sctransformer.evaluation.card_comparison import stored_card
    from sctransformer.evaluation.held_out_edges import HELD_OUT_SHARE
    from sctransformer.evaluation.prior_score import expressed_genes, score_network

    with status_line(f"Reading {cells}"):
        counted = read_counts(cells, gene_column, max_cells, seed)
    cards = []
    for network in networks:
        expression, inside = expressed_genes(counted, network, min_targets)
        with cells_bar("Scoring networks") as on_progress:
            card = score_network(
                inside, expression, hidden_edges=HELD_OUT_SHARE, shuffles=shuffles, seed=seed, on_progress=on_progress
            )
        cards.append(stored_card(card, str(cells)))
    return cards


def _labels(model: str, cells: Path, networks: "list[Network]", max_cells: int, seed: int) -> list[dict[str, Any]]:
    """The labels that change with the network, printed."""
    from sctransformer.annotation.exchanged_network import exchanged_labels
    from sctransformer.annotation.label_weights import read_label_weights
    from sctransformer.annotation.model import checked_settings
    from sctransformer.annotation.reading import check_cells, open_cells
    from sctransformer.annotation.target_response import measured_cells
    from sctransformer.registry.loading import load_model

    loaded = load_model(model)
    weights = read_label_weights(loaded.bundle)
    if loaded.bundle.regulators is None or not weights.use_activities:
        print_fields([("labels", f"those of {model} read no activities, so none depends on the network")])
        return []
    settings = checked_settings(regulators="top")
    with open_cells(cells, loaded.bundle.vocabulary) as opened:
        read = check_cells(opened, loaded.bundle.vocabulary, settings.min_coverage)
        read.require_one_panel()
        sample = measured_cells(read, loaded.scorer(settings.scoring).labeller(read), max_cells, seed)
    table = exchanged_labels(loaded.bundle, weights, sample, *networks)
    total, changed = int(table["cells"].sum()), int(table["changed"].sum())
    rows = [("labels", f"{changed:,} of {total:,} cells change label ({changed / total:.2%}), without training again")]
    records: list[dict[str, Any]] = [
        {str(name): value for name, value in one.items()} for one in table.to_dict("records")
    ]
    rows += [("", f"{one['cell_type']}: {one['changed']:,} of {one['cells']:,}") for one in records if one["changed"]]
    print_fields(rows)
    return records


def _print_cards(found: dict[str, Any]) -> None:
    from sctransformer.wording import some

    if not found["same_cells"]:
        typer.echo("Note: the scorecards were measured on different cells; their values are not comparable.", err=True)
    rows = []
    for one in found["measurements"]:
        passed = [("passed" if one[f"{which}_passed"] else "not passed") for which in ("first", "second")]
        rows += [
            (one["name"], f"{one['first']:.4f} to {one['second']:.4f} ({one['change']:+.4f})"),
            (
                "",
                f"above rewired networks: {one['first_difference']:+.4f} ({passed[0]}) to "
                f"{one['second_difference']:+.4f} ({passed[1]})",
            ),
        ]
    for name, label in (("both", "in both"), ("lost", "only in the first"), ("gained", "only in the second")):
        names = found["regulators"][name]
        shown = f": {some(names)}" if names else ""
        rows.append(("regulators" if name == "both" else "", f"{len(names):,} beat rewired networks {label}{shown}"))
    print_fields(rows)


def _write(json: Path | None, found: dict[str, Any], first: Path, second: Path) -> None:
    if json is None:
        return
    from sctransformer.files import write_json

    write_json(json, {"first": str(first), "second": str(second)} | found)
    typer.echo(f"{json}: all values")
