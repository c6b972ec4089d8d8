"""`sctransformer data check`: whether a file would pass, before anything long is started."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.errors import UserError

_ROWS = 4096


def check(
    file: Annotated[Path, typer.Argument(help="An h5ad file with raw counts in X.", show_default=False)],
    label_column: Annotated[
        str | None,
        typer.Option(help="Column of obs with the cell type.", show_default="cell_type if there"),
    ] = None,
    library_size_column: Annotated[
        str | None,
        typer.Option(
            help="Column of obs with the counts of the whole cell.",
            show_default="library_size if there, else sums of X",
        ),
    ] = None,
) -> None:
    """Read a whole file, check that X holds raw counts, and say what is in it."""
    import numpy as np

    from sctransformer._constants import OBS
    from sctransformer.annotate.library import choose_library_sizes
    from sctransformer.cli.progress import cells_bar
    from sctransformer.data.cells import CellFile

    with CellFile(file) as cells, cells_bar("Checking") as on_progress:
        for what, names in (("cells", cells.obs.index), ("genes", cells.genes)):
            if len(names) == 0:
                raise UserError(f"{file}: has no {what}.")
        if label_column is not None and label_column not in cells.obs:
            there = ", ".join(map(str, cells.obs.columns)) or "none"
            raise UserError(f"{file}: obs has no column {label_column!r} (columns: {there}); set --label-column.")
        sizes = choose_library_sizes(cells.obs, library_size_column, str(file))
        library_sizes, counts, empty = [], 0, 0
        for start, chunk in cells.chunks(_ROWS):
            library_sizes.append(sizes.of_chunk(start, chunk))
            counts += int(np.count_nonzero(chunk.data))
            empty += int((chunk.getnnz(axis=1) == 0).sum())
            on_progress(start + chunk.shape[0], cells.n_cells)
        low, middle, high = np.percentile(np.concatenate(library_sizes), (0, 50, 100))
        zeros = 1 - counts / (cells.n_cells * len(cells.genes))
        lines = [
            ("cells", f"{cells.n_cells:,}{_repeated(int(cells.obs.index.duplicated().sum()))}"),
            ("genes", f"{len(cells.genes):,}{_repeated(int(cells.genes.duplicated().sum()))}"),
            ("counts", f"raw; {zeros:.1%} zeros; {empty:,} cells without any"),
            ("library size", f"{sizes}; median {middle:,.0f}, from {low:,.0f} to {high:,.0f}"),
        ]
        column = label_column or (OBS.cell_type if OBS.cell_type in cells.obs else None)
        if column is None:
            lines.append(("labels", "none"))
        else:
            labels = cells.obs[column].astype("string").str.strip().replace("", None)
            without = int(labels.isna().sum())
            lines.append(("labels", f"obs[{column!r}]; {labels.nunique()} types; {without:,} cells without"))
            lines += [(f"  {name}", f"{number:,}") for name, number in labels.value_counts().items()]
    width = max(len(name) for name, _ in lines)
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in lines))


def _repeated(number: int) -> str:
    return f"; {number:,} names occur again: training needs unique names" if number else ""
