"""Linear layers for vectors with missing elements.

A missing element of a vector x is NaN. With e_j = 1 where element j is missing, and 0 where it is observed,

    y = W x' + V e + b,    x'_j = 0 if e_j = 1, else x_j

W, b are the weights of a linear layer, and V further weights, which are 0 at first. For a vector without missing
elements, y is exactly the output of the linear layer. The network thus learns which elements are missing, instead of
taking them for zeros.

Source: the mask is a further input of the encoder as in VAEAC (Ivanov, Figurnov and Vetrov, 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.networks.cpu.linear import affine

__all__ = ["accept_missing", "fill_missing", "wrap_encoder"]


class MaskedLinear(nn.Module):
    """A linear layer whose input, `(*, in)`, may have missing elements, which are NaN; see the module.

    Arguments:
        layer: Linear layer with the weights W and b.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(layer.weight)
        >>> MaskedLinear(layer)(torch.tensor([[3.0, 4.0], [3.0, torch.nan]])).tolist()
        [[7.0], [3.0]]
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.missing = nn.Parameter(torch.zeros_like(layer.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(*, in)` to `(*, out)`."""
        return affine(fill_missing(x), self.weight, self.bias) + F.linear(x.isnan().to(x.dtype), self.missing)


class MaskedInput(nn.Module):
    """A network with a vector as its input, `(N, size)`, that also accepts missing elements, which are NaN.

    The network gets zeros in their place, and `V e` (see the module) is added to its output.

    Arguments:
        network: Network, `(N, size)` to `(N, out)`.
        size: Size of the input.
        out: Size of the output.
    """

    def __init__(self, network: nn.Module, size: int, out: int) -> None:
        super().__init__()
        self.network = network
        self.missing = nn.Parameter(torch.zeros(out, size))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, size)` to `(N, out)`."""
        return self.network(fill_missing(x)) + F.linear(x.isnan().to(x.dtype), self.missing)


def accept_missing(network: nn.Sequential) -> nn.Sequential:
    """Replaces the first layer of a network by a `MaskedLinear` with the same weights, and returns the network.

    Arguments:
        network: Layers of which the first is linear.

    Example:
        >>> network = accept_missing(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)))
        >>> network(torch.tensor([[0.5, torch.nan]])).isfinite().all()
        tensor(True)
    """
    first = network[0]
    assert isinstance(first, nn.Linear)
    network[0] = MaskedLinear(first)
    return network


def wrap_encoder(network: nn.Module, size: int, out: int) -> nn.Module:
    """Returns a network that accepts missing elements: itself if it has a `MaskedLinear`, else a `MaskedInput`.

    Arguments:
        network: Network, `(N, size)` to `(N, out)`.
        size: Size of the input.
        out: Size of the output.

    Example:
        >>> type(wrap_encoder(nn.Tanh(), 3, 3)).__name__
        'MaskedInput'
    """
    accepts = any(isinstance(module, MaskedLinear) for module in network.modules())
    return network if accepts else MaskedInput(network, size, out)


def fill_missing(x: Tensor) -> Tensor:
    """Replaces missing elements, which are NaN, by 0.

    Example:
        >>> fill_missing(torch.tensor([1.0, torch.nan]))
        tensor([1., 0.])
    """
    return torch.where(x.isnan(), 0.0, x)
