"""The base class of custom networks, which replace a modality's default encoder or decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polymodal.modalities.arguments import Arguments

if TYPE_CHECKING:
    from torch import nn

    from polymodal.modalities.base import Modality

__all__ = ["Network"]


@dataclass(frozen=True)
class Network(Arguments):
    """A custom encoder, decoder or both for a modality, as in `Image(3, 64, 64, network=Residual(depth=4))`.

    A subclass must be a frozen dataclass whose arguments are its complete state. It overrides one method or both. To
    save and load models that use it, register it in `polymodal.NETWORKS`.

    Example:
        >>> from polymodal.modalities import Vector
        >>> from torch import nn
        >>> @dataclass(frozen=True)
        ... class Linear(Network):
        ...     bias: bool = True
        ...
        ...     def encoder(self, modality, features):
        ...         return nn.Linear(modality.shape[0], features, bias=self.bias)
        >>> Vector(3, network=Linear(bias=False)).build_encoder(8)
        Linear(in_features=3, out_features=8, bias=False)
    """

    def encoder(self, modality: Modality, features: int) -> nn.Module:
        """Creates an encoder of prepared values, `(N, *shape) -> (N, features)`; by default the modality's."""
        return modality.encoder(features)

    def decoder(self, modality: Modality, latent_dim: int) -> nn.Module:
        """Creates a decoder from `(N, latent_dim)` to the parameters of p(x | z); by default the modality's."""
        return modality.decoder(latent_dim)
