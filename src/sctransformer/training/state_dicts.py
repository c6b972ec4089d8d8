"""Unsharded state dicts of models and optimizers, with torch.distributed.checkpoint.state_dict."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.parallel import reshard


def full_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights and buffers on the CPU; empty on all ranks but 0. Every process must call it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return {name: _copy(tensor) for name, tensor in get_model_state_dict(module, options=options).items()}


def load_full_state_dict(module: nn.Module, weights: Mapping[str, Tensor], group: ProcessGroup) -> None:
    """Load weights that rank 0 holds; with sharding each process gets its part."""
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=group.size > 1)
    set_model_state_dict(module, dict(weights), options=options)


def full_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of the optimizer's tensors on the CPU, as `<parameter>.<name>`; empty on all ranks but 0.

    Args:
        module: holds the parameters that are optimized.
        optimizer: after its first step.
    """
    reshard(module)  # after a forward pass a module may hold unsharded parameters, which the optimizer does not know
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    content = cast(dict[str, Any], get_optimizer_state_dict(module, optimizer, options=options))
    return {
        f"{parameter}.{name}": _copy(tensor)
        for parameter, tensors in content.get("state", {}).items()
        for name, tensor in tensors.items()
    }


def load_full_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Load tensors from `full_optimizer_state` that every process holds; hyperparameters stay those of `optimizer`.

    torch's own flat format (`flatten_optimizer_state_dict`) cannot be loaded into sharded parameters, and it contains
    hyperparameters that are not tensors.
    """
    content = cast(dict[str, Any], get_optimizer_state_dict(module, optimizer))
    parameters = [name for group in content["param_groups"] for name in group["params"]]
    content["state"] = {}
    for key, tensor in state.items():
        parameter, _, name = key.rpartition(".")
        if parameter.isdigit():  # older checkpoints number the parameters
            parameter = parameters[int(parameter)]
        content["state"].setdefault(parameter, {})[name] = _copy(tensor)
    set_optimizer_state_dict(module, optimizer, content, options=StateDictOptions(full_state_dict=True))


def _copy(tensor: Any) -> Tensor:
    copied: Tensor = tensor.detach().clone()
    return copied
