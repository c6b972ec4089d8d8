"""The linear map from genes and activities to labels, and the trained edges, read from the weights of a bundle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError, one_line
from sctransformer.export.bundle import Bundle

_NEEDED = ("classifier.gene_weight_GC", "classifier.bias_C", "tokens.mean_G", "tokens.scale_G")


@dataclass(frozen=True)
class LabelWeights:
    """Label map and edges of a model. G: genes, R: regulators, C: cell types, J: edges of the network."""

    gene_GC: NDArray[np.float64]
    """Change of each calibrated logit per unit of log expression."""
    activity_RC: NDArray[np.float64]
    """Change of each calibrated logit per unit of activity; no rows for a model without activities."""
    bias_C: NDArray[np.float64]
    """Calibrated logits of a cell with mean expression whose activities are all 0."""
    mean_G: NDArray[np.float64]
    """Mean log1p of counts per 10,000 in the training cells."""
    scale_G: NDArray[np.float64]
    """One over the standard deviation in the training cells; 0 for a constant gene."""
    regulator_J: NDArray[np.int64]
    """Position of each edge's regulator in `Bundle.regulators`."""
    target_J: NDArray[np.int64]
    """Position of each edge's target in the vocabulary."""
    weight_J: NDArray[np.float64]
    """Trained weight of each edge in the last layer of attention."""

    @property
    def use_activities(self) -> bool:
        """Whether labels depend on activities at all."""
        return bool(self.activity_RC.any())


def read_label_weights(bundle: Bundle) -> LabelWeights:
    """Read the label map of a model, without torch.

    Logits are divided by the temperature of the calibration, as in the ONNX graph, so that differences of logits are
    logarithms of ratios of the probabilities that an annotation reports.

    Args:
        bundle: the model, verified.

    Raises:
        UserError: the labels of the model are not linear in expression, or the weights cannot be read.
    """
    path = bundle.folder / BUNDLE.weights
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); export the bundle again.") from error
    if not set(_NEEDED) <= set(tensors):
        direction = bundle.config.get("direction", "regulators")
        raise UserError(
            f"{bundle.shown}: cannot be explained, because its labels are not linear in expression (model.direction "
            f"is {direction}); train a model with model.direction targets."
        )
    gene_GC, bias_C, mean_G, scale_G = (tensors[name].astype(np.float64) for name in _NEEDED)
    temperature = float(bundle.calibration["temperature"])
    activity_RC = tensors.get("classifier.activity_weight_RC", np.zeros((0, len(bias_C)))).astype(np.float64)
    none = np.zeros(0)
    return LabelWeights(
        gene_GC / temperature,
        activity_RC / temperature,
        bias_C / temperature,
        mean_G,
        scale_G,
        regulator_J=tensors.get("regulator_J", none).astype(np.int64),
        target_J=tensors.get("target_J", none).astype(np.int64),
        weight_J=_last_layer(tensors, none).astype(np.float64),
    )


def _last_layer(tensors: dict[str, NDArray[Any]], none: NDArray[Any]) -> NDArray[Any]:
    """The edge weights D of the last layer in which regulators attend to their targets."""
    layers = [name for name in tensors if name.startswith("activities.") and name.endswith(".weight_J")]
    return tensors[max(layers, key=lambda name: int(name.split(".")[1]))] if layers else none
