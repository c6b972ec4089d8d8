"""The served model: gene-named columns of counts in, labels out. MLflow runs this file; it needs no torch, Ray or DVC.

It travels inside the registered model together with the package, so it loads where sctransformer is not installed.
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
from sctransformer.annotation.genes import MIN_COVERAGE, match_genes, named_by_symbol, require_coverage
from sctransformer.annotation.rejection import rejected
from sctransformer.annotation.session import ScoringSession, score_as_served
from sctransformer.data.counts import check_counts
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle

_SOURCE = "input"
_CELLS_A_RUN = 512
"""Cells that go through the graph at once; memory grows with them."""


class CellTypeModel(PythonModel):
    """Cell types of raw counts, from the bundle among the model's artifacts."""

    _bundle: Bundle
    _session: ScoringSession

    def load_context(self, context: PythonModelContext) -> None:
        """Verify and read the bundle; open the graph.

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
            model_input: one row a cell, one column a gene, in any order, raw integer counts. Genes that the model does
                not know are only counted. The optional column `library_size` holds the counts of the whole cell;
                without it the sum of the row is taken, which is right only if every measured gene is a column.
            params: none are known.

        Returns:
            predicted_labels (the most likely class, or `unknown` where the cell is rejected, as `annotate` writes it),
            conf_score (calibrated probability of the most likely class, also where rejected) and rejected (under the
            bundle's threshold, or without a count in any gene that the model knows), under the index of the input.

        Raises:
            MlflowException: the input is no table of raw counts, a library size is smaller than its row or there are
                two, or the genes make up less than 0.8 of the expression of the model's panel; the most missed are
                named.
        """
        try:
            return self._label(model_input)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _label(self, table: pd.DataFrame) -> pd.DataFrame:
        if not isinstance(table, pd.DataFrame):
            raise UserError(f"{_SOURCE}: expected a table with one column a gene, found {type(table).__name__}.")
        if (times := int((table.columns == OBS.library_size).sum())) > 1:
            raise UserError(
                f"{_SOURCE}: has {times} columns {OBS.library_size!r}, expected one at most; drop the others."
            )
        genes = table.drop(columns=OBS.library_size, errors="ignore")
        names = genes.columns.astype(str)
        known, _ = named_by_symbol(self._bundle.vocabulary, pd.DataFrame(index=names), _SOURCE)
        match = match_genes(self._bundle.vocabulary, known)
        require_coverage(match, self._bundle.vocabulary, known, _SOURCE, MIN_COVERAGE, "the list of columns")
        counts_NF = _counts(genes)
        library_size_N = _library_size(table, counts_NF)
        labels = self._bundle.labels["name"].to_numpy()
        threshold = float(self._bundle.calibration["rejection_threshold"])
        predicted, confidence, without_label = [], [], []
        for start in range(0, len(table), _CELLS_A_RUN):
            part = slice(start, start + _CELLS_A_RUN)
            sizes_N = library_size_N[part]
            counts_NG = match.gather(counts_NF[part])
            probabilities_NC, _ = score_as_served(self._session, counts_NG, sizes_N, match, self._bundle.vocabulary)
            confidence_N = probabilities_NC.max(axis=1)
            rejected_N = rejected(confidence_N, np.asarray(counts_NG.any(axis=1)), threshold)
            predicted.append(np.where(rejected_N, UNKNOWN_LABEL, labels[probabilities_NC.argmax(axis=1)]))
            confidence.append(confidence_N)
            without_label.append(rejected_N)
        empty = np.empty(0, dtype=np.float32)
        return pd.DataFrame(
            {
                OBS.predicted_labels: np.concatenate([labels[:0], *predicted]),
                OBS.conf_score: np.concatenate([empty, *confidence]),
                REJECTED: np.concatenate([empty.astype(bool), *without_label]),
            },
            index=table.index,
        )


def _counts(genes: pd.DataFrame) -> sparse.csr_matrix:
    try:
        # NaN is kept through the conversion and found by the check
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
            f"a number no smaller than the sum of its counts, {row_sums_N[first]:.0f}; give the whole cell's counts."
        )
    return sizes_N.astype(np.float32)


mlflow.models.set_model(CellTypeModel())
