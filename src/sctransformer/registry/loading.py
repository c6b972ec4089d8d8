"""From a reference to a model that labels cells."""

from pathlib import Path

from sctransformer.annotation.model import Model
from sctransformer.registry.opening import open_model


def load_model(reference: str | Path) -> Model:
    """Load a model and verify every file of its bundle.

    Args:
        reference: `NAME@ALIAS` or `NAME/VERSION` of a registered model, or the folder of a bundle.

    Returns:
        The model. Its `repr` shows cell types, genes, network, version and metrics.

    Raises:
        UserError: the model does not exist, or its bundle is damaged.

    Examples:
        >>> import sctransformer as sct
        >>> model = sct.load_model("celltype@champion")  # doctest: +SKIP
    """
    found = open_model(reference)
    return Model(found.bundle, str(reference), found.version_text)
