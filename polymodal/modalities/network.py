"""Networks in place of a modality's own."""

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
    """An encoder, a decoder or both, in place of a modality's own: `Image(3, 64, 64, network=Residual(depth=4))`.

    A subclass is a frozen dataclass whose arguments are its whole state, and overrides one method or both. So
    that models with it can be saved and loaded, it is registered in `polymodal.NETWORKS`.

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
        """A network from prepared values, `(N, *shape) -> (N, features)`; by default the modality's own."""
        return modality.encoder(features)

    def decoder(self, modality: Modality, latent_dim: int) -> nn.Module:
        """A network, `(N, latent_dim)` to what the modality's own gives, the parameters of p(x | z)."""
        return modality.decoder(latent_dim)
