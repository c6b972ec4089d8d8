"""The served model: a table of counts in, labels out. MLflow runs this file; it needs no torch, Ray or DVC.

The registered model has this file and the package in it, so it loads where sctransformer is not installed.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext
from scipy import sparse

from sctransformer._constants import OBS, REJECTED, UNKNOWN_LABEL
from sctransformer.annotation.genes import match_table
from sctransformer.annotation.labelling import UNKNOWN, Labeller
from sctransformer.annotation.limits import limits_for
from sctransformer.annotation.session import ScoringSession
from sctransformer.annotation.settings import DEFAULTS
from sctransformer.data.counts import check_counts
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle

_SOURCE = "input"
"""What the table is called in errors."""


class CellTypeModel(PythonModel):
    """Labels cells with the bundle in the model's artifacts."""

    _bundle: Bundle
    _session: ScoringSession

    def load_context(self, context: PythonModelContext) -> None:
        """Verify and read the bundle; load the graph.

        Raises:
            MlflowException: the bundle is damaged, or onnxruntime cannot run its graph.
        """
        try:
            self._bundle = read_bundle(Path(context.artifacts["bundle"]))
            self._session = ScoringSession(self._bundle)
        except UserError as error:
            raise MlflowException(str(error)) from error

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Label cells.

        Args:
            context: given by MLflow.
            model_input: raw integer counts with one row per cell and one column per gene, in any order. Genes that the
                model does not know count only in the library size. The optional column `library_size` has the total
                counts of each cell; without it the sum of the row is used, which is correct only if every measured
                gene has a column.
            params: not used.

        Returns:
            predicted_labels (the most likely cell type, or `unknown` where the cell is rejected, as `annotate` writes
            it), conf_score (calibrated probability of the most likely cell type, also where rejected), rejected
            (under the bundle's threshold, unlike the training cells, or without a count in any gene that the model
            knows) and predicted_labels_raw (the most likely cell type, also where rejected); the index is that of the
            input.

        Raises:
            MlflowException: the input is not a table of raw counts, a library size is smaller than the sum of its row
                or there are two, or the genes cover less than 0.8 of the expression of the model's panel.
        """
        try:
            return self._label(model_input)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _label(self, table: pd.DataFrame) -> pd.DataFrame:
        if not isinstance(table, pd.DataFrame):
            raise UserError(f"{_SOURCE}: expected a table with one column per gene, found {type(table).__name__}.")
        if (times := int((table.columns == OBS.library_size).sum())) > 1:
            raise UserError(
                f"{_SOURCE}: has {times} columns {OBS.library_size!r}, expected one at most; drop the others."
            )
        genes = table.drop(columns=OBS.library_size, errors="ignore")
        vocabulary = self._bundle.vocabulary
        var = pd.DataFrame(index=genes.columns.astype(str))
        counts_NF = _counts(genes)
        match = match_table(vocabulary, var, _SOURCE, DEFAULTS.min_coverage, "the list of columns")
        labels = Labeller(self._session, vocabulary, match).label(counts_NF, _library_size(table, counts_NF))
        calls = labels.calls(limits_for(self._bundle.calibration, float((match.column_G >= 0).mean())))
        names = np.array([*self._bundle.labels["name"], UNKNOWN_LABEL], dtype=object)
        assert UNKNOWN == -1  # the last name
        return pd.DataFrame(
            {
                OBS.predicted_labels: names[calls.label_N],
                OBS.conf_score: calls.confidence_N,
                REJECTED: calls.label_N == UNKNOWN,
                OBS.raw_labels: names[calls.best_N],
            },
            index=table.index,
        )


def _counts(genes: pd.DataFrame) -> sparse.csr_matrix:
    try:
        # the conversion keeps NaN, which the check finds
        counts_NF = sparse.csr_matrix(genes.to_numpy(dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise UserError(f"{_SOURCE}: expected numbers in every gene's column ({error}).") from error
    check_counts(counts_NF, _SOURCE, genes.index.astype(str).tolist(), genes.columns.astype(str).tolist())
    return counts_NF


def _library_size(table: pd.DataFrame, counts_NF: sparse.csr_matrix) -> np.ndarray:
    row_sums_N = np.asarray(counts_NF.sum(axis=1), dtype=np.float64).ravel()
    if OBS.library_size not in table:
        return row_sums_N.astype(np.float32)
    sizes_N = pd.to_numeric(table[OBS.library_size], errors="coerce").to_numpy(dtype=np.float64)
    bad_N = ~(np.isfinite(sizes_N) & (sizes_N >= row_sums_N - 0.5))
    if bad_N.any():
        first = int(np.argmax(bad_N))
        raise UserError(
            f"{_SOURCE}: library_size of row {table.index[first]!r} is {table[OBS.library_size].iloc[first]}, expected "
            f"a number no smaller than the sum of its counts, {row_sums_N[first]:.0f}; give the cell's total counts."
        )
    return sizes_N.astype(np.float32)


mlflow.models.set_model(CellTypeModel())
