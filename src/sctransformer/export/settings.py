"""Settings of the ONNX export and of the name under which the model is registered."""

from typing import get_args

from pydantic import Field

from sctransformer._constants import Variant
from sctransformer.settings import Settings


class ExportSettings(Settings):
    """The ONNX graph and its variants."""

    refit: bool = True
    """Whether the labels of the exported model are fitted again on all labelled cells, those for validation and test
    included, once the metrics are measured (`model.direction` targets). Attention, novelty and metrics stay those of
    the evaluated model; temperature and confidence threshold come from cross-validation over all labelled cells."""
    opset: int = Field(default=23, ge=23)
    """ONNX opset; 23 is the first with the standard Attention operator."""
    parity_tolerance: float = Field(default=1e-5, gt=0.0)
    """Largest difference of a probability between torch and onnxruntime."""
    variants: tuple[Variant, ...] = get_args(Variant)
    """Variants of the graph to add, with `model.direction` regulators: `mha`, attention as onnxruntime's own operator;
    `float16`; `int8`, 8-bit weights. A variant outside its tolerance is left out. With direction targets
    there are none: the graph along the edges is light."""


class RegistrationSettings(Settings):
    """The model in the registry."""

    name: str = Field(default="celltype", pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the registered model."""
