"""The joint encoder over concatenated features, computed efficiently for many conditioning masks.

The first layer is linear in the concatenation of M feature vectors. Vector m is the row's features f_m if the mask b_m
is 1, and the features of a blank, blank_m, if b_m is 0:

    W [..., b_m f_m + (1 - b_m) blank_m, ...] + bias = (bias + sum_m W_m blank_m) + sum_m b_m W_m (f_m - blank_m)

W_m is the part of the weight matrix W for modality m. The terms W_m (f_m - blank_m) do not depend on b and are computed
once for all masks. An additional vector, such as the conditioner's c(b), adds another linear term.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.networks.cpu.chain import apply_fused
from polymodal.networks.cpu.linear import Linear, affine
from polymodal.networks.cpu.stacked import multiply_members, run_stacked
from polymodal.networks.mlp import mlp
from polymodal.runtime.vectorizing import is_exporting

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Fusion"]

MANY = 16
"""Number of masks per row from which on the terms of the first layer of all members are computed once for all masks."""
PIECE = 4 * 2**20
"""Bytes of a hidden layer to compute at once on a CPU without gradients, so that they fit in its cache."""


class Skip(nn.Module):
    """Applies a network to the first columns of its input and adds the others: `(*, width + out)` to `(*, out)`.

    Arguments:
        network: Network from `(*, width)` to `(*, out)`.
        width: Number of columns that the network reads.
    """

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network, self.width = network, width

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(*, width + out)` to `(*, out)`."""
        return apply_fused(self.network, x[..., : self.width].contiguous()) + x[..., self.width :]


class Fusion(nn.Module):
    """An MLP on the concatenation of M feature vectors, each of which is either a row's features or a blank's.

    The first layer is linear in the concatenation, so its term for each feature vector is computed once, and each mask
    selects terms. The result equals that of a plain MLP on the concatenation. The cost of the first layer for K masks
    hardly grows with K.

    Arguments:
        parts: Number of feature vectors M.
        features: Size F of each feature vector.
        extra: Size of an additional vector that is never masked (from the conditioner); 0 for none.
        hidden: Sizes of the hidden layers.
        out: Size of the output.
        skip: Whether a linear map of the concatenation is added to the output.
        dropout: Dropout probability of the hidden units, not of the linear map.

    Example:
        >>> f = Fusion(2, 3, 0, [8], 4)
        >>> f(torch.zeros(5, 2, 3), torch.zeros(2, 3), torch.ones(7, 5, 2, dtype=torch.bool)).shape
        torch.Size([7, 5, 4])
    """

    def __init__(
        self,
        parts: int,
        features: int,
        extra: int,
        hidden: Sequence[int],
        out: int,
        *,
        skip: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width, *after = [*hidden, out]
        skip = skip and bool(after)  # without a hidden layer the network is already linear
        self.first = Linear(parts * features + extra, width + out * skip)
        self.rest: nn.Module = nn.Identity()
        if after:
            drop = [nn.Dropout(dropout)] if dropout else []
            self.rest = nn.Sequential(nn.ReLU(), *drop, *mlp(width, after[:-1], out, dropout=dropout))
        if skip:
            self.rest = Skip(self.rest, width)
        self.parts, self.features = parts, features

    def forward(self, known: Tensor, blank: Tensor, b: Tensor, extra: Tensor | None = None) -> Tensor:
        """Computes the output for every mask and row.

        Arguments:
            known: Features of the rows, `(B, M, F)`.
            blank: Features of a missing modality, `(M, F)`.
            b: Mask, `(*, B, M)` or `(*, 1, M)` bool; True selects `known`, False `blank`.
            extra: Additional vector, `(*, B, extra)` or `(*, 1, extra)`.

        Returns:
            `(*, B, out)`.

        If the parameters begin with an axis of n members, all arguments and the result do, too; b is then
        `(n, U, B, M)`.
        """
        if self.first.weight.dim() > 2:
            if not torch.is_grad_enabled() and b.shape[1] >= MANY:
                return self._predict_members(known, blank, b, extra)
            extra = None if extra is None else extra.expand(*extra.shape[:2], known.shape[1], -1)
            return self._run_members(known, blank, b.expand(*b.shape[:2], known.shape[1], -1), extra)
        split = self.parts * self.features
        weight = self.first.weight[:, :split]
        hidden = F.linear(blank.flatten(), weight, self.first.bias)
        shares = torch.einsum("bmf,hmf->bmh", known - blank, weight.unflatten(1, (self.parts, self.features)))
        if extra is not None:
            hidden = hidden + affine(extra, self.first.weight[:, split:])
        b = b.to(shares.dtype).expand(*b.shape[:-2], *known.shape[:2])
        hidden = hidden.expand(*b.shape[:-1], -1)
        if is_exporting():
            return self.rest(torch.einsum("...bm,bmh->...bh", b, shares) + hidden)
        rows = len(known)
        if known.device.type == "cpu" and not torch.is_grad_enabled():
            rows = max(1, PIECE * rows // (hidden.numel() * hidden.element_size()))
        parts = zip(b.split(rows, -2), shares.split(rows), hidden.split(rows, -2), strict=True)
        run = self.rest if isinstance(self.rest, Skip) else partial(apply_fused, self.rest)
        made = [run(torch.einsum("...bm,bmh->...bh", b, of).add_(more)) for b, of, more in parts]
        return made[0] if len(made) == 1 else torch.cat(made, dim=-2)

    def _predict_members(self, known: Tensor, blank: Tensor, b: Tensor, extra: Tensor | None) -> Tensor:
        """Computes the outputs of n members like `_run_members`, in less time for many masks.

        If the masks are the same for all members, they may be `(1, U, B, M)`.
        """
        split = self.parts * self.features
        weight = self.first.weight[..., :split]
        hidden = multiply_members(blank.flatten(1)[:, None], weight, self.first.bias)[:, None]  # (n, 1, 1, hidden)
        if extra is not None:
            hidden = hidden + extra @ self.first.weight[:, None, :, split:].mT  # (n, U, B, hidden)
        per_part = weight.unflatten(-1, (self.parts, self.features)).transpose(1, 2)  # (n, M, hidden, F)
        terms = (known - blank[:, None]).transpose(1, 2) @ per_part.mT  # (n, M, B, hidden)
        chosen = b.to(terms.dtype).transpose(1, 2) @ terms.transpose(1, 2)  # (n, B, U, hidden)
        hidden = (chosen.transpose(1, 2) + hidden).flatten(1, 2)
        return self._run_rest(hidden).unflatten(1, chosen.shape[2:0:-1])

    def _run_members(self, known: Tensor, blank: Tensor, b: Tensor, extra: Tensor | None) -> Tensor:
        """Computes the outputs of n members, `(n, U, B, out)`, see `forward`.

        The features are concatenated, because the networks of ensembles are small.
        """
        x = torch.where(b[..., None], known[:, None], blank[:, None, None]).flatten(-2)
        if extra is not None:
            x = torch.cat([x, extra], dim=-1)
        hidden = multiply_members(x.flatten(1, 2), self.first.weight, self.first.bias)  # (n, U B, hidden)
        return self._run_rest(hidden).unflatten(1, b.shape[1:3])

    def _run_rest(self, hidden: Tensor) -> Tensor:
        """Computes the layers after the first one for n members, `(n, N, hidden)` to `(n, N, out)`."""
        network, width = (self.rest.network, self.rest.width) if isinstance(self.rest, Skip) else (self.rest, None)
        made = run_stacked([network], hidden[:, None, :, :width])[:, 0]
        if width is not None:
            made = made + hidden[..., width:]
        return made
