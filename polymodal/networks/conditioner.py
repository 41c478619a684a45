"""The network that encodes the conditioning mask for the joint encoder."""

from __future__ import annotations

from torch import Tensor, nn

from polymodal.networks.mlp import mlp

__all__ = ["Conditioner"]


class Conditioner(nn.Module):
    """The network c(b) that encodes a conditioning mask b: `(*, M)` to `(*, features)`.

    Arguments:
        modalities: Number of modalities M.
        features: Size of the output.
        width: Size of the hidden layer.

    Source: MAC-WAE, appendix, table of networks, row b.
    """

    def __init__(self, modalities: int, features: int, width: int = 512) -> None:
        super().__init__()
        self.network = mlp(modalities, [width], features)

    def forward(self, b: Tensor) -> Tensor:
        """Encodes masks `(*, M)` of ones and zeros to `(*, features)`."""
        return self.network(b)
