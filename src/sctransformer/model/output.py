"""What a model computes for each cell."""

from typing import NamedTuple

from torch import Tensor


class ModelOutput(NamedTuple):
    """The output of a model for each cell."""

    logits_NC: Tensor
    """Class scores before softmax and before calibration, cells x classes."""
    embedding_NE: Tensor
    """Cell embedding, cells x embedding."""
    activity_NR: Tensor | None = None
    """Activity of each regulator, cells x regulators; None for a model in which genes attend to regulators. NaN for a
    regulator of which no target was measured."""
