"""From what a person names to its report: annotated files, outputs, a bundle, a registered model or a run."""

from pathlib import Path

from sctransformer import layout
from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.files import read_json
from sctransformer.registry.opened_model import OpenedModel
from sctransformer.registry.opening import open_model
from sctransformer.registry.references import is_reference
from sctransformer.reports.annotated import report_of_file
from sctransformer.reports.content import Report
from sctransformer.reports.folder import annotated_files, report_of_folder
from sctransformer.reports.training import OUTPUTS, in_outputs, is_outputs, report_of_bundle, report_of_outputs

_EXPECTED = (
    "expected an annotated h5ad file or zarr folder, a folder of these, a folder of outputs, a bundle, NAME@ALIAS, "
    "NAME/VERSION, or the ID or name of a run"
)


def report_of(source: str, model: str | None = None) -> Report:
    """Collect the report of a source.

    Args:
        source: an annotated file, or a folder of these; the folder `outputs` of a project, or the project; the folder
            of a bundle; `NAME@ALIAS` or `NAME/VERSION`; the ID, start of an ID, or name of an MLflow run.
        model: the model that labelled the file; None: the one that the file names.

    Raises:
        UserError: there is no such file, model or run, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = _of_folder(path, model)
        return report_of_file(path, model) if found is None else found
    if path.is_file():
        return report_of_file(path, model)
    if is_reference(source):
        return _of_model(open_model(source))
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"{source}: no such file or folder; {_EXPECTED}.")
    return _of_run(source)


def _of_folder(folder: Path, model: str | None) -> Report | None:
    """The report of outputs, a bundle or annotated files; None for a folder that may hold cells."""
    if (folder / BUNDLE.checksums).is_file():
        return report_of_bundle(read_bundle(folder), str(folder))
    for outputs in (folder, folder / OUTPUTS):
        if is_outputs(outputs):
            return report_of_outputs(outputs)
    if any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        return None
    if annotated_files(folder):
        return report_of_folder(folder, model)
    if (folder / layout.TRAINING.name).is_dir() or (folder / "dvc.yaml").is_file():
        raise UserError(
            f"{folder}: holds no evaluated model ({in_outputs(folder, layout.METRICS)} and "
            f"{in_outputs(folder, layout.BUNDLE_FOLDER)} are needed); run `sctransformer train` first."
        )
    raise UserError(f"{folder}: is no source of a report; {_EXPECTED}.")


def _of_model(opened: OpenedModel) -> Report:
    """The report of a registered model; with its test cells if the outputs here are those of the same model."""
    if is_outputs(OUTPUTS) and read_bundle(layout.BUNDLE_FOLDER).identity == opened.bundle.identity:
        return report_of_outputs(OUTPUTS, str(opened))
    return report_of_bundle(opened.bundle, str(opened))


def _of_run(wanted: str) -> Report:
    """The report of a run: of the outputs here if they are its, else of the version that it trained."""
    from sctransformer.registry.models import version_of_run  # MLflow takes seconds to import
    from sctransformer.tracking.queries import find_run, list_runs

    try:
        run = find_run(wanted, list_runs())
    except UserError as error:
        raise UserError(f"{wanted}: no such file or folder, and no such run: {error}") from error
    if is_outputs(OUTPUTS) and read_json(layout.LINEAGE).get("run_id") == run.run_id:
        return report_of_outputs(OUTPUTS)
    version = version_of_run(run.run_id)
    if version is None:
        raise UserError(
            f"run {run.name or run.run_id}: its model was not registered, and the outputs here are those of another "
            "run; `sctransformer train` with its parameters restores them from DVC's cache."
        )
    return _of_model(open_model(version))
