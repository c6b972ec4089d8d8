"""The model as it is served: the ONNX graph of a bundle, run by onnxruntime."""

import logging
import os
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sctransformer._constants import GraphForm
from sctransformer.errors import UserError, one_line
from sctransformer.export.bundle import Bundle
from sctransformer.export.bundle_checks import require_ports
from sctransformer.export.graph_metadata import require_order

logger = logging.getLogger(__name__)

_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
_ORT_ERRORS_ONLY = 3
BATCH_CELLS = 64
"""Cells per run of the graph on a CPU.

A constant, because matrix products of other sizes may differ in the last bits: results depend neither on the batch size
nor on the number of threads. Larger batches are not faster on one thread, and take more memory.
"""
GPU_BATCH_CELLS = 256
"""Cells per run of the graph on a GPU, if not given."""
_MOST_THREADS = 16
"""Threads if their number is not given: each takes memory, and reading the cells does not keep up with more."""
_ALWAYS_ALLOWED = 2
"""Threads that are allowed on every machine: a job's default."""
_HINT = "install exactly one of sctransformer[cpu] and sctransformer[gpu]"


class Scores(NamedTuple):
    """Outputs of the graph. N: cells, C: cell types, E: embedding, G: genes of the vocabulary."""

    probabilities_NC: NDArray[np.float32]
    """Calibrated probabilities."""
    embedding_NE: NDArray[np.float32]
    """Cell embeddings."""
    novelty_N: NDArray[np.float32]
    """Novelty; NaN if the model has no novelty score."""
    activity_NR: NDArray[np.float32] | None = None
    """Activity of each regulator; None if the model has none, or they were not asked for."""


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several runs of a graph, in order."""
    if len(parts) == 1:
        return parts[0]
    activities = [part.activity_NR for part in parts if part.activity_NR is not None]
    return Scores(
        np.concatenate([part.probabilities_NC for part in parts]),
        np.concatenate([part.embedding_NE for part in parts]),
        np.concatenate([part.novelty_N for part in parts]),
        np.concatenate(activities) if activities else None,
    )


class ScoringSession:
    """Scores raw counts with the graph of a bundle.

    Args:
        bundle: verified by `read_bundle`.
        threads: number of threads that may call `score` at once, see `threads`; None: one per core, at most 16.
        variant: form of the graph, see `export.variants`.
        evaluated: use the model that the metrics are of, which has not seen the test cells.

    Raises:
        UserError: onnxruntime is absent or broken or rejects the graph, the graph does not fit the bundle's genes and
            cell types, or the bundle has no such variant.
    """

    def __init__(
        self, bundle: Bundle, threads: int | None = None, variant: GraphForm = "float32", *, evaluated: bool = False
    ) -> None:
        runtime = usable_runtime()
        options = runtime.SessionOptions()
        options.log_severity_level = _ORT_ERRORS_ONLY
        options.intra_op_num_threads = 1  # batches in parallel use the cores better than threads inside operators
        available = runtime.get_available_providers()
        wanted = [name for name in _PREFERRED if name in available]
        on_cpu = wanted[0] == "CPUExecutionProvider"
        path = bundle.cpu_graph_path if variant == "float32" and on_cpu else bundle.variant_path(variant)
        path = bundle.evaluated_graph_path if evaluated else path
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # onnxruntime has no public base class for its errors
            raise UserError(
                f"{path}: onnxruntime {runtime.__version__} cannot run the graph ({error}); update it."
            ) from error
        ports = (self._session.get_inputs(), self._session.get_outputs())
        inputs, outputs = ({port.name: port.shape for port in group} for group in ports)
        self.has_novelty: bool = "novelty" in bundle.calibration
        """Whether the model has a novelty score; bundles of 0.1.0 have none."""
        self.has_activity: bool = bundle.regulators is not None
        """Whether the graph computes activities of regulators."""
        require_ports(path, bundle.config, inputs, outputs, self.has_novelty, self.has_activity)
        require_order(path, self._session.get_modelmeta().custom_metadata_map, bundle.genes, bundle.labels["name"])
        self.graph: str = path.name
        """The file of the bundle that is used: on a CPU the graph along the edges, if there is one."""
        self.provider: str = self._session.get_providers()[0]
        """What the graph runs on: onnxruntime falls back to the CPU when CUDA is installed but does not start."""
        on_cpu = self.provider == "CPUExecutionProvider"
        self.threads: int = (threads or min(usable_cores(), _MOST_THREADS)) if on_cpu else 1
        """Number of threads that should call `score` at once; a GPU is used by one."""
        self.run_cells: int | None = BATCH_CELLS if on_cpu else None
        """Cells per run of the graph; None: as many as are given."""
        self.n_labels: int = bundle.config["n_classes"]
        self.embedding_size: int = bundle.config["embedding"]
        if self.provider != wanted[0]:
            logger.warning("%s did not start; scoring with %s.", wanted[0], self.provider)

    def batch_cells(self, wanted: int | None) -> int:
        """Cells that a thread takes at a time, see `batch_cells_on`."""
        return batch_cells_on(self.run_cells is None, wanted)

    def score(
        self,
        counts_NG: NDArray[np.float32],
        library_size_N: NDArray[np.float32],
        measured_G: NDArray[np.bool_] | None = None,
        activity: bool = True,
    ) -> Scores:
        """Score cells in one run of the graph; memory grows with their number.

        Args:
            counts_NG: raw counts, cells x genes of the vocabulary.
            library_size_N: total counts of each cell; values under 1 count as 1.
            measured_G: genes that novelty and activities look at; None: all.
            activity: whether activities are wanted, if the model has them.
        """
        feeds = {"counts": counts_NG, "library_size": library_size_N}
        if self.has_novelty or self.has_activity:
            given_G = np.ones(counts_NG.shape[1]) if measured_G is None else measured_G
            feeds["measured"] = given_G.astype(np.float32)
        wanted = ["probabilities", "embedding"]
        wanted += ["novelty"] if self.has_novelty else []
        wanted += ["activity"] if self.has_activity and activity else []
        found = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        novelty_N = found.get("novelty", np.full(len(counts_NG), np.nan, dtype=np.float32))
        return Scores(found["probabilities"], found["embedding"], novelty_N, found.get("activity"))


def require_scorable(bundle: Bundle) -> None:
    """Check that a bundle can label cells on this machine, by scoring one empty cell.

    Args:
        bundle: verified by `read_bundle`.

    Raises:
        UserError: as `ScoringSession`, or the graph does not run, or lacks a finite probability for each label.
    """
    session = ScoringSession(bundle)
    try:
        scores = session.score(np.zeros((1, len(bundle.genes)), dtype=np.float32), np.ones(1, dtype=np.float32))
    except Exception as error:  # onnxruntime has no public base class for its errors
        raise UserError(
            f"{bundle.graph_path}: the graph does not run ({one_line(error)}); export the bundle again."
        ) from error
    wanted = (1, len(bundle.labels))
    if scores.probabilities_NC.shape != wanted or not np.isfinite(scores.probabilities_NC).all():
        raise UserError(
            f"{bundle.graph_path}: the graph returns probabilities of shape {scores.probabilities_NC.shape} for one "
            f"cell, expected finite values of shape {wanted}; export the bundle again."
        )


def batch_cells_on(gpu: bool, wanted: int | None) -> int:
    """Cells that a thread takes at a time: on a CPU one or more whole runs of the graph, so that results are the same.

    Args:
        gpu: whether the graph runs on a GPU.
        wanted: batch size of the settings.
    """
    if gpu:
        return wanted or GPU_BATCH_CELLS
    return -(-(wanted or 1) // BATCH_CELLS) * BATCH_CELLS


def usable_runtime() -> ModuleType:
    """The onnxruntime module.

    onnxruntime and onnxruntime-gpu install the same module: with both, either may win, and uninstalling one of them
    leaves an empty module.

    Raises:
        UserError: the module is absent or empty.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"onnxruntime cannot be imported ({error}); {_HINT}.") from error
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if not hasattr(onnxruntime, "InferenceSession"):
        found = " and ".join(installed) or "no such package"
        raise UserError(
            f"onnxruntime is broken: it has no InferenceSession ({found} installed); uninstall it, then {_HINT}."
        )
    if len(installed) > 1:
        logger.warning("%s are both installed and overwrite each other; %s.", " and ".join(installed), _HINT)
    module: ModuleType = onnxruntime
    return module


def require_cores(threads: int | None) -> None:
    """Refuse more threads than cores that this process may use: they would only take memory.

    Raises:
        UserError: there are fewer cores.
    """
    cores = usable_cores()
    if threads is not None and threads > max(cores, _ALWAYS_ALLOWED):
        raise UserError(
            f"{threads:,} CPU threads were requested, but only {cores} cores are available; lower --threads, or "
            "resources.cpus of a job."
        )


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
