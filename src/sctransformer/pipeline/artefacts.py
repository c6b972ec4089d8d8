"""Objects made from the pipeline's artefacts by more than one stage."""

from safetensors.torch import load_file

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.files import read_json
from sctransformer.model import ModelConfig, PriorBiasedTransformer


def trained_model() -> PriorBiasedTransformer:
    """The model of the training stage with its best weights.

    Raises:
        UserError: weights, prior and configuration do not belong together.
    """
    prior_HGS = load_file(layout.BIAS).get(layout.PRIOR_TENSOR)
    try:
        model = PriorBiasedTransformer(ModelConfig(**read_json(layout.MODEL_CONFIG)), prior_HGS)
    except ValueError as error:
        raise UserError(f"{layout.MODEL_CONFIG}: does not fit {layout.BIAS}; run `dvc repro -f -s train`.") from error
    try:
        model.load_state_dict(load_file(layout.WEIGHTS))
    except RuntimeError as error:
        raise UserError(
            f"{layout.WEIGHTS}: does not fit {layout.MODEL_CONFIG}; run `dvc repro -f -s train`."
        ) from error
    return model
