"""A model that labels cells: a verified bundle under the name by which it was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from pydantic import ValidationError

from sctransformer.annotation.explain import TOP, Explanation, explain_types
from sctransformer.annotation.explain_cells import CellExplanation, explain_cells
from sctransformer.annotation.faithfulness import DeletionCurve, deletion_curve
from sctransformer.annotation.genes import measured_genes
from sctransformer.annotation.labelling import CellLabels
from sctransformer.annotation.limits import Limits, limits_for
from sctransformer.annotation.reading import CheckedCells, check_cells, coverage_of
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.settings import AbsentGenes, AnnotationSettings, Scoring
from sctransformer.annotation.stream import activity_of_all, label_all
from sctransformer.data.anndata_cells import SOURCE, AnnDataCells
from sctransformer.data.species import species_of
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.typed_yaml import first_problem
from sctransformer.wording import some

_NAMES_SHOWN = 3
"""First names that `repr` shows of a list, before the last one."""
_IDENTITY_SHOWN = 12


def checked_settings(**values: Any) -> AnnotationSettings:
    """Settings from arguments of a function.

    Raises:
        UserError: a value is out of range.
    """
    try:
        return AnnotationSettings(**values)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from error


class ReadingOptions(TypedDict, total=False):
    """How cells are read, see `sctransformer.annotate`."""

    counts: str | None
    library_size_column: str | None
    min_coverage: float
    absent_genes: AbsentGenes


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model that labels cells. Use `sctransformer.load_model` to get one.

    Args:
        bundle: the verified bundle.
        name: the reference that was asked for; written to the output.
        version: its version in the registry, or `unregistered`; written to the output.
    """

    bundle: Bundle
    name: str
    version: str
    _scorers: dict[Scoring, LocalScorer] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """All but the loaded graphs: a copy in another process loads its own."""
        return {**self.__dict__, "_scorers": {}}

    @cached_property
    def identity(self) -> str:
        """SHA-256 that is the same for bundles which label every cell alike, see `Bundle.identity`."""
        return self.bundle.identity

    @property
    def labels(self) -> list[str]:
        """Names of the cell types, in the order of the probabilities."""
        return self.bundle.labels["name"].tolist()

    @property
    def genes(self) -> list[str]:
        """Symbols of the genes that the model reads."""
        return self.bundle.genes

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics of the evaluation on held-out test cells, and of the baseline on the same cells."""
        return self.bundle.metrics

    @property
    def threshold(self) -> float:
        """Confidence under which cells are labelled `unknown` unless another threshold is given."""
        return float(self.bundle.calibration["rejection_threshold"])

    def limits(self, read: CheckedCells, settings: AnnotationSettings) -> Limits:
        """The limits beyond which a cell of a file is `unknown`.

        Args:
            read: the cells, with their genes.
            settings: with `threshold`, `reject_novel` and `absent_genes`.
        """
        measured = float(measured_genes(read.match, settings.absent_genes == "mean").mean())
        limits = limits_for(self.bundle.calibration, measured, settings.threshold, settings.reject_novel)
        return replace(limits, panels=tuple(self.limits(one, settings) for one in read.by_panel()))

    def scorer(self, scoring: Scoring) -> LocalScorer:
        """The scorer with these settings; a graph is loaded once per model, number of threads and variant.

        Raises:
            UserError: `scoring.threads` is larger than the number of cores.
        """
        if scoring not in self._scorers:
            graph = (scoring.threads, scoring.variant)
            alike = [one for other, one in self._scorers.items() if (other.threads, other.variant) == graph]
            self._scorers[scoring] = LocalScorer(self.bundle, scoring, next(iter(alike), None))
        return self._scorers[scoring]

    def predict_proba(self, adata: AnnData, **options: Unpack[ReadingOptions]) -> pd.DataFrame:
        """Predict the calibrated probability of each cell type.

        Args:
            adata: cells with raw counts; not changed.
            options: `counts`, `library_size_column`, `min_coverage` and `absent_genes` of `sctransformer.annotate`.

        Returns:
            Cells x cell types (float32), under the names of the cells.

        Raises:
            UserError: as `sctransformer.annotate`.

        Examples:
            >>> model.predict_proba(adata).idxmax(axis=1)  # doctest: +SKIP
        """
        read, labels = self.label(adata, checked_settings(regulators="off", **options))
        return pd.DataFrame(labels.probabilities_NC, index=read.cells.obs.index, columns=self.labels)

    def embed(self, adata: AnnData, **options: Unpack[ReadingOptions]) -> NDArray[np.float32]:
        """Compute cell embeddings, cells x embedding size.

        Args:
            adata: cells with raw counts; not changed.
            options: as for `predict_proba`.

        Raises:
            UserError: as `sctransformer.annotate`.
        """
        return self.label(adata, checked_settings(regulators="off", **options))[1].embedding_NE

    def activities(self, adata: AnnData, **options: Unpack[ReadingOptions]) -> pd.DataFrame:
        """Compute the activity of each regulator of the prior network in each cell.

        An activity is what the attention of a regulator to its targets gives: high where the genes that it activates
        are expressed above their mean in the training cells, and those that it represses below. Regulators with
        similar targets have similar activities. Compare cells with one another, not regulators.

        Args:
            adata: cells with raw counts; not changed.
            options: as for `predict_proba`.

        Returns:
            Cells x regulators (float32); NaN for a regulator with fewer measured targets than `prior.min_targets` of
            the training.

        Raises:
            UserError: as `sctransformer.annotate`, or the model has no activities.

        Examples:
            >>> model.activities(adata).groupby(adata.obs["cell_type"]).mean()  # doctest: +SKIP
        """
        if self.bundle.regulators is None:
            raise UserError(
                f"{self.name}: has no activities, because its genes attend to regulators; train a model with "
                "model.direction targets."
            )
        settings = checked_settings(regulators="top", **options)
        read, scorer = self._read(adata, settings), self.scorer(settings.scoring)
        read.require_one_panel()
        labeller = scorer.labeller(read)
        activity_NR = activity_of_all(read, labeller, scorer.batch_cells(settings.batch_cells))
        assert labeller.regulators is not None
        activity_NR[:, ~labeller.regulators.measured_R] = np.nan
        return pd.DataFrame(activity_NR, index=read.cells.obs.index, columns=labeller.regulators.names)

    def explain(self, cell_type: str | None = None, top: int = TOP) -> Explanation:
        """Explain what labels rest on: the genes and regulators that separate each cell type from the others.

        Args:
            cell_type: a cell type; None: all.
            top: number of genes, and of regulators, per cell type.

        Returns:
            Three tables, `summary`, `genes` and `regulators`, with a column `cell_type`; see
            `sctransformer.annotation.explain.explain_types` for how contributions are computed.

        Raises:
            UserError: the labels of the model are not linear in expression, or there is no such cell type.

        Examples:
            >>> model.explain("CD19+ B").genes.set_index("gene")["contribution"]  # doctest: +SKIP
            >>> scanpy.pl.dotplot(adata, model.explain("CD19+ B", top=8).genes["gene"], "leiden")  # doctest: +SKIP
        """
        return explain_types(self.bundle, None if cell_type is None else [cell_type], top)

    def explain_cells(
        self, adata: AnnData, names: str | Sequence[str], top: int = TOP, **options: Unpack[ReadingOptions]
    ) -> CellExplanation:
        """Explain the labels of some cells: the genes for and against, and the regulators that stand out.

        Args:
            adata: cells with raw counts; not changed.
            names: names of the cells to explain, from `adata.obs_names`.
            top: number of genes for, and against, each label.
            options: as for `predict_proba`.

        Returns:
            Three tables, `summary` (a row per cell), `genes` and `regulators`; see
            `sctransformer.annotation.explain_cells.explain_cells`.

        Raises:
            UserError: as `sctransformer.annotate`, or as `explain`, or there is no such cell.

        Examples:
            >>> found = model.explain_cells(adata, ["AAACATACAACCAC-1"])  # doctest: +SKIP
            >>> found.genes.sort_values("contribution")  # doctest: +SKIP
        """
        settings = checked_settings(regulators="top", **options)
        chosen = [names] if isinstance(names, str) else names
        return self.explain_read(self._read(adata, settings), chosen, top, settings)

    def explain_read(
        self, read: CheckedCells, names: Sequence[str], top: int, settings: AnnotationSettings
    ) -> CellExplanation:
        """As `explain_cells`, for cells that were read from a file."""
        read.require_one_panel()
        labeller = self.scorer(settings.scoring).labeller(read)
        return explain_cells(self.bundle, read, labeller, self.limits(read, settings), names, top)

    def faithfulness(self, read: CheckedCells, settings: AnnotationSettings) -> DeletionCurve:
        """Measure whether the genes of `explain` decide labels, on cells that were read; see `deletion_curve`."""
        read.require_one_panel()
        labeller = self.scorer(settings.scoring).labeller(read)
        explained = explain_types(self.bundle, top=len(self.genes))
        return deletion_curve(self.bundle, read, labeller, self.limits(read, settings), explained)

    def label(self, adata: AnnData, settings: AnnotationSettings) -> tuple[CheckedCells, CellLabels]:
        """Label the cells of an AnnData object without changing it; the basis of `sctransformer.annotate`.

        Returns:
            The cells as they were read, and their labels.

        Raises:
            UserError: as `sctransformer.annotate`.
        """
        read, scorer = self._read(adata, settings), self.scorer(settings.scoring)
        labels = label_all(read, scorer.labeller(read), scorer.batch_cells(settings.batch_cells))
        return read, labels

    def _read(self, adata: AnnData, settings: AnnotationSettings) -> CheckedCells:
        """Check cells in memory, and match their genes."""
        vocabulary = self.bundle.vocabulary
        cells = AnnDataCells(adata, settings.counts, coverage_of(vocabulary, SOURCE), species_of(vocabulary["gene"]))
        read = check_cells(cells, vocabulary, settings.min_coverage, settings.library_size_column)
        read.log_notes()
        return read

    def __repr__(self) -> str:
        bundle = self.bundle
        regulators = int(bundle.config["n_regulators"])
        lines = [
            f"sctransformer model {self.name} with {len(self.labels)} cell types and {len(self.genes):,} genes",
            f"version: {self.version}",
            f"cell types: {some(self.labels, _NAMES_SHOWN)}",
            f"genes: {some(self.genes, _NAMES_SHOWN)}",
            f"network: {len(bundle.prior):,} edges, {regulators:,} regulators",
            f"activities: {'none' if bundle.regulators is None else f'of {regulators:,} regulators'}",
            f"metrics: {_metrics(self.metrics)}",
            f"threshold: {self.threshold:.3g}",
            f"identity: {self.identity[:_IDENTITY_SHOWN]}",
        ]
        if when := bundle.lineage.get("when"):
            lines.insert(2, f"date: {when}")
        return "\n    ".join(lines)


def _metrics(metrics: Mapping[str, Any]) -> str:
    test = metrics.get("test", {})
    names = {"macro_f1": "macro-F1", "accuracy": "accuracy"}
    found = [f"{name} {test[key]:.3f}" for key, name in names.items() if isinstance(test.get(key), int | float)]
    cells = f" on {test['cells']:,} test cells" if isinstance(test.get("cells"), int) else ""
    return f"{', '.join(found)}{cells}" if found else "none"
