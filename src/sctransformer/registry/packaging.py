"""The MLflow model of a bundle: code of this package, the bundle, pinned requirements, no pickle."""

import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import sctransformer
from sctransformer._constants import OBS, REJECTED, TARGET_SUM
from sctransformer.annotation.session import require_scorable
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.registry import pyfunc_model
from sctransformer.registry.names import BUNDLE_ARTIFACT
from sctransformer.registry.shipped_code import PACKAGE, imported_files
from sctransformer.registry.stored_bundle import BUNDLE_IN_MODEL

_INFERENCE = ("mlflow", "numpy", "pandas", "pyarrow", "scipy")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_SHIPPED = ("annotation", "data", "export")
"""Subpackages of which modules are saved with the model."""


def save_model(bundle_folder: Path, target: Path) -> Bundle:
    """Write the MLflow model of a bundle.

    Args:
        bundle_folder: a bundle.
        target: folder to write; must not exist.

    Returns:
        The bundle in the model, verified.

    Raises:
        UserError: the bundle is damaged or cannot score.
    """
    with tempfile.TemporaryDirectory() as temporary:
        # A copy under a fixed name: MLflow keeps the name of the folder, and the verified copy is the one registered.
        staged = Path(temporary) / BUNDLE_ARTIFACT
        shutil.copytree(bundle_folder, staged)
        bundle = read_bundle(staged)
        require_scorable(bundle)
        code = Path(temporary) / "code" / sctransformer.__name__
        _write_code(code)
        mlflow.pyfunc.save_model(
            path=str(target),
            python_model=str(Path(pyfunc_model.__file__)),
            artifacts={BUNDLE_ARTIFACT: str(staged)},
            code_paths=[str(code)],
            pip_requirements=inference_requirements(),
            signature=_signature(),
            input_example=_typical_cell(bundle),
            metadata={"bundle_identity": bundle.identity, "sctransformer": sctransformer.__version__},
        )
    return read_bundle(target / BUNDLE_IN_MODEL)


def _write_code(target: Path) -> None:
    """Write the modules that scoring imports, and the tables beside them; what is left out saves uploads."""
    for path in imported_files(Path(pyfunc_model.__file__), _SHIPPED):
        copy = target / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for folder in (target / name for name in _SHIPPED):
        for table in (PACKAGE / folder.name).glob("*.tsv"):
            shutil.copyfile(table, folder / table.name)


def inference_requirements() -> list[str]:
    """Requirements of serving, pinned to the installed versions: neither torch nor Ray nor DVC."""
    return [f"{name}=={metadata.version(name)}" for name in _INFERENCE] + _installed_runtimes()[:1]


def _installed_runtimes() -> list[str]:
    found = []
    for name in _RUNTIMES:
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _signature() -> ModelSignature:
    """Schema of the outputs only.

    A schema of the input columns would fix the genes and make MLflow drop all other columns, which count towards the
    library size; a tensor would lose the gene names. The model checks its input itself.
    """
    outputs = [
        ColSpec(DataType.string, OBS.predicted_labels),
        ColSpec(DataType.float, OBS.conf_score),
        ColSpec(DataType.boolean, REJECTED),
        ColSpec(DataType.string, OBS.raw_labels),
    ]
    return ModelSignature(outputs=Schema(outputs))


def _typical_cell(bundle: Bundle) -> pd.DataFrame:
    """The average training cell as counts, as an example request in the folder of the model."""
    mean_G = bundle.vocabulary["mean"].to_numpy(dtype=np.float64)
    counts_G = np.round(np.expm1(mean_G.clip(min=0.0))).astype(int)
    row = dict(zip(bundle.genes, counts_G.tolist(), strict=True))
    return pd.DataFrame([row | {OBS.library_size: max(int(TARGET_SUM), int(counts_G.sum()))}])
