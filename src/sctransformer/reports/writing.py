"""Writing the page of a source; `report` is public as `sctransformer.report`."""

import logging
import os
from pathlib import Path

from anndata import AnnData

from sctransformer import layout
from sctransformer._constants import BUNDLE, UNS
from sctransformer.data.anndata_cells import SOURCE, require_anndata
from sctransformer.errors import UserError
from sctransformer.reports.annotated import Fields, report_of_fields
from sctransformer.reports.content import Report
from sctransformer.reports.page import write_page
from sctransformer.reports.sources import report_of
from sctransformer.reports.training import OUTPUTS, is_outputs

logger = logging.getLogger(__name__)


def report(source: AnnData | str | Path, path: str | Path, *, model: str | None = None) -> Path:
    """Write an HTML page to explore, as `sctransformer report`: one file that works offline.

    It shows a map of cells, regulators by cell type, the targets of each regulator, and for a training its results.

    Args:
        source: annotated cells, their h5ad file or zarr folder, or a folder of such files; the folder `outputs` of a
            project; a model (folder of a bundle, `NAME@ALIAS`, `NAME/VERSION`); the ID or name of a run. Activities of
            regulators need cells annotated with `regulators="all"`.
        path: the file to write.
        model: the model that labelled the cells, whose network is shown; None: the one that the cells name.

    Returns:
        The file. What the page lacks, and how to get it, is logged as warnings.

    Raises:
        UserError: the source does not exist or cannot be read, the cells are not annotated, or the file cannot be
            written.

    Examples:
        >>> sct.annotate(adata, "celltype@champion", regulators="all")  # doctest: +SKIP
        >>> sct.report(adata, "report.html")  # doctest: +SKIP
    """
    target = Path(path)
    for note in write_report(source, target, model).notes:
        logger.warning("%s: %s", target, note)
    return target


def write_report(source: AnnData | str | Path, target: Path, model: str | None = None) -> Report:
    """Write the page of a source, see `report`, and return what is on it."""
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give the name of the HTML file.")
    if isinstance(source, str | os.PathLike):
        if target.exists() and Path(source).exists() and target.samefile(source):
            raise UserError(f"{target}: is the file to read; give another name for the HTML file.")
        found = report_of(str(source), model)
    else:
        require_anndata(source)
        record = source.uns.get(UNS.annotation)
        found = report_of_fields(
            Fields(source.obs, source.obsm, record if isinstance(record, dict) else {}), SOURCE, model
        )
    write_page(target, found)
    return found


def default_target(source: str) -> Path:
    """Where the page of a source is written: beside a file or in outputs, else in the working folder."""
    path = Path(source)
    if path.is_dir() and (is_outputs(path) or is_outputs(path / OUTPUTS)):
        return (path if is_outputs(path) else path / OUTPUTS) / layout.REPORT.name
    if path.exists() and not (path / BUNDLE.checksums).is_file():
        return path.with_name(f"{path.stem}_report.html")
    return Path(layout.REPORT.name)
