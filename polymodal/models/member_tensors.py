"""The tensors of an ensemble: those of its n members, `(n, *)`, under the names that they have in a single model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["differs_by_member", "stack_state", "stack_tensors"]

SHARED = ("weight", "weighed")
"""Buffers of a model that all members share: the loss weights, and whether they are final."""


def stack_state(state: Mapping[str, Tensor], members: int) -> dict[str, Tensor]:
    """Returns empty tensors without memory, with the shapes and dtypes of the state of an ensemble.

    Arguments:
        state: State of a single model.
        members: Number of members; 1 for a single model.
    """
    shapes = {name: (members,) * (members > 1 and name not in SHARED) + tensor.shape for name, tensor in state.items()}
    return {name: torch.empty(shapes[name], dtype=tensor.dtype, device="meta") for name, tensor in state.items()}


def stack_tensors(members: Sequence[nn.Module]) -> None:
    """Replaces the tensors of the first member with the stacked tensors of all members."""
    known: dict[nn.Parameter, nn.Parameter] = {}  # a parameter may occur in several modules
    for module, *others in zip(*(member.modules() for member in members), strict=True):
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter not in known:
                stacked = torch.stack([parameter.detach(), *(other._parameters[key].detach() for other in others)])
                known[parameter] = nn.Parameter(stacked, parameter.requires_grad)
            if parameter is not None:
                module._parameters[key] = known[parameter]
        for key, buffer in module._buffers.items():
            if buffer is not None and differs_by_member(module, key, top=module is members[0]):
                module._buffers[key] = torch.stack([buffer, *(other._buffers[key] for other in others)])


def differs_by_member(module: nn.Module, key: str, *, top: bool) -> bool:
    """Returns whether each member has its own buffer; `top` says whether the module is the model."""
    return key not in module._non_persistent_buffers_set and not (top and key in SHARED)
