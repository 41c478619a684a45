"""The joint encoder over concatenated features, computed once for many conditionings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.networks.cpu.chain import chained
from polymodal.networks.cpu.linear import Linear, affine
from polymodal.networks.mlp import mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fusion"]

PIECE = 4 * 2**20
"""Bytes of a hidden layer that are made at once on a CPU where no gradient is wanted: its cache holds them."""


class Skip(nn.Module):
    """Adds the last columns of its input to what a network makes of the first ones, `(*, width + out)` to `(*, out)`.

    Arguments:
        network: `(*, width)` to `(*, out)`.
        width: Number of the first columns.
    """

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.width = network, width

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return chained(self.network, x[..., : self.width].contiguous()) + x[..., self.width :]


class Fusion(nn.Module):
    """An MLP on the concatenation of M feature vectors, each of which is either a row's own or a blank.

    The first layer is linear in the concatenation, so its share of each feature vector is computed once and
    every conditioning is a choice between two of these shares. The result is that of the plain MLP on the
    concatenation, at a cost for K conditionings that hardly grows with K.

    Arguments:
        parts: Number of feature vectors M.
        features: Size F of each.
        extra: Size of a further vector that is never hidden (the conditioner's); 0 for none.
        hidden: Sizes of the hidden layers.
        out: Size of the output.
        skip: Whether a linear map of the concatenation is added to the output.

    Example:
        >>> f = Fusion(2, 3, 0, [8], 4)
        >>> f(torch.zeros(5, 2, 3), torch.zeros(2, 3), torch.ones(7, 5, 2, dtype=torch.bool)).shape
        torch.Size([7, 5, 4])
    """

    def __init__(
        self, parts: int, features: int, extra: int, hidden: Sequence[int], out: int, *, skip: bool = False
    ) -> None:
        super().__init__()
        width, *after = [*hidden, out]
        skip = skip and bool(after)  # without a hidden layer the map is linear as it is
        self.first = Linear(parts * features + extra, width + out * skip)
        self.rest: nn.Module = nn.Sequential(nn.ReLU(), *mlp(width, after[:-1], out)) if after else nn.Identity()
        if skip:
            self.rest = Skip(self.rest, width)
        self.parts, self.features = parts, features

    def forward(self, known: Tensor, blank: Tensor, b: Tensor, extra: Tensor | None = None) -> Tensor:
        """Every conditioning of every row.

        Arguments:
            known: Features of the rows, `(B, M, F)`.
            blank: Features of a hidden modality, `(M, F)`.
            b: True chooses `known`, `(*, B, M)` or `(*, 1, M)` bool.
            extra: `(*, B, extra)` or `(*, 1, extra)`.

        Returns:
            `(*, B, out)`.
        """
        split = self.parts * self.features
        weight = self.first.weight[:, :split]
        hidden = F.linear(blank.flatten(), weight, self.first.bias)
        shares = torch.einsum("bmf,hmf->bmh", known - blank, weight.unflatten(1, (self.parts, self.features)))
        if extra is not None:
            hidden = hidden + affine(extra, self.first.weight[:, split:])
        b = b.to(shares.dtype).expand(*b.shape[:-2], *known.shape[:2])
        hidden = hidden.expand(*b.shape[:-1], -1)
        rows = len(known)
        if known.device.type == "cpu" and not torch.is_grad_enabled():
            rows = max(1, PIECE * rows // (hidden.numel() * hidden.element_size()))
        parts = zip(b.split(rows, -2), shares.split(rows), hidden.split(rows, -2), strict=True)
        run = self.rest if isinstance(self.rest, Skip) else partial(chained, self.rest)
        made = [run(torch.einsum("...bm,bmh->...bh", b, of).add_(more)) for b, of, more in parts]
        return made[0] if len(made) == 1 else torch.cat(made, dim=-2)
