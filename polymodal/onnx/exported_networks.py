"""The parts of a model that are exported: from values to the code, and from the code to predictions."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from polymodal.models import Model
from polymodal.models.ensemble import Ensemble
from polymodal.models.ensemble_codes import select_members

__all__ = ["Decoding", "Encoding", "Rows"]


class Rows(NamedTuple):
    """Rows without the checks of `Batch`, whose conditions would fix the number of rows of an export."""

    values: dict[str, Tensor]
    observed: Tensor


def _open_models(model: Model) -> nn.ModuleList:
    """Returns the members of an ensemble as models of their own, or the model itself."""
    if not isinstance(model, Ensemble):
        return nn.ModuleList([model])
    members = deepcopy(model.open_members())
    for module in (module for member in members for module in member.modules()):
        for name, tensor in module._parameters.items():
            module._parameters[name] = None if tensor is None else nn.Parameter(tensor, requires_grad=False)
    return nn.ModuleList(members)


class Encoding(nn.Module):
    """The function from values of all modalities and their observed mask to the code.

    Arguments:
        model: A model on the CPU.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.models = _open_models(model)
        self.names = list(model.schema)

    def forward(self, observed: Tensor, values: tuple[Tensor, ...]) -> Tensor:
        """Returns the point prediction of the code, `(B, code_dim)`.

        Arguments:
            observed: Observed mask, `(B, M)` bool.
            values: Values of each modality, `(B, *shape)`. Images are floats in [0, 1].
        """
        rows = Rows(dict(zip(self.names, values, strict=True)), observed)
        codes = [cast("Model", model).encode(rows).mean for model in self.models]
        return codes[0] if len(codes) == 1 else torch.cat(codes, dim=-1)


class Decoding(nn.Module):
    """The function from the code to the predictions of all modalities.

    Arguments:
        model: A model on the CPU.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.models = _open_models(model)
        self.names = list(model.schema)
        self.distribution = model.make_distribution
        self.modalities = model.schema.modalities

    def forward(self, code: Tensor) -> tuple[Tensor, ...]:
        """Returns the point prediction of each modality, `(B, *shape)`, then the probabilities of each label.

        Arguments:
            code: Codes, `(B, code_dim)`.
        """
        parts = zip(self.models, code.chunk(len(self.models), dim=-1), strict=True)
        emitted = [cast("Model", model).emit(part) for model, part in parts]
        predictions, probabilities = [], []
        for name in self.names:
            if len(emitted) == 1:
                output = emitted[0][name]
            else:
                output = select_members(torch.stack([one[name] for one in emitted]), 1, None)
            distribution: Any = self.distribution(name, output)
            predictions.append(self.modalities[name].value(distribution))
            if self.is_label(name):
                probabilities.append(distribution.base_dist.probs)
        return *predictions, *probabilities

    def is_label(self, name: str) -> bool:
        """Whether a modality has probabilities of classes."""
        return self.modalities[name].levels is not None and not self.modalities[name].shape
