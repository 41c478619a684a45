"""What tells the joint encoder which modalities it sees."""

from __future__ import annotations

from torch import Tensor, nn

from polymodal.networks.mlp import mlp

__all__ = ["Conditioner"]


class Conditioner(nn.Module):
    """The network c(b) of the conditioning index: `(*, M)` to `(*, features)`.

    Arguments:
        modalities: Their number M.
        features: Size of the output.
        width: Size of the hidden layer.

    Source: MAC-WAE, appendix, table of networks, row b.
    """

    def __init__(self, modalities: int, features: int, width: int = 512) -> None:
        super().__init__()
        self.network = mlp(modalities, [width], features)

    def forward(self, b: Tensor) -> Tensor:
        """`(*, M)`, ones and zeros, to `(*, features)`."""
        return self.network(b)
