"""Conditioning masks b: which of a row's M modalities the encoder observes. Two distributions p(b) are available.

`p0` in [0, 1): each modality is missing with probability p0, independently, and the empty mask is excluded,
`p(b) = p0^(M - |b|) (1 - p0)^|b| / (1 - p0^M)` with |b| the number of observed modalities (MAC-WAE, Eq. 7). For large
M, nearly all masks have |b| close to `(1 - p0) M`.

`p0=None`, masks of every size: |b| is uniform on 1..M, and all masks of the same size have the same probability,
`p(b) = 1 / (M C(M, |b|))` with C the binomial coefficient. This is Eq. 7 with p0 ~ U(0, 1).

Both keep their form when a mask is restricted to the observed modalities of an incomplete row.
"""

from __future__ import annotations

from itertools import product
from math import comb

import torch
from torch import Tensor

__all__ = ["probabilities", "sample", "sample_rows", "subsets"]


def sample(observed: Tensor, draws: int, p0: float | None, *, per_sample: bool = False) -> Tensor:
    """Samples K conditioning masks for a batch.

    One mask is sampled per pass and shared by the batch, or one per row. Each row's mask is restricted to its observed
    modalities. If this leaves none, the row's mask is sampled again over its observed modalities, so every row's masks
    follow p(b) over these. With `p0=None`, the sizes of the K masks are stratified: their K quantiles are evenly
    spaced. Random numbers come from PyTorch's global generator.

    Arguments:
        observed: Mask of the observed modalities of each row, `(B, M)` bool, at least one in every row.
        draws: Number of masks K.
        p0: Probability that a modality is missing, in [0, 1); None samples masks of every size.
        per_sample: Whether to sample one mask per row instead of one per pass.

    Returns:
        Conditioning masks `(K, B, M)` bool.

    Example:
        >>> b = sample(torch.ones(4, 3, dtype=torch.bool), draws=10, p0=0.9)
        >>> b.shape, bool(b.any(-1).all())
        (torch.Size([10, 4, 3]), True)
        >>> sample(torch.ones(1, 3, dtype=torch.bool), draws=6, p0=None).sum(-1).flatten().sort().values
        tensor([1, 1, 2, 2, 3, 3])

    Source: MAC-WAE, Eq. 7 and Algorithm 1; incomplete rows and masks of every size are not in the paper.
    """
    everything = observed.expand(draws, *observed.shape)
    if per_sample:
        return sample_rows(everything, p0)
    b = sample_rows(torch.ones_like(everything[:, :1]), p0) & observed
    empty = ~b.any(-1, keepdim=True)
    return torch.where(empty, sample_rows(everything, p0), b) if empty.any() else b


def sample_rows(observed: Tensor, p0: float | None) -> Tensor:
    """Samples a mask for every row over the row's observed modalities, without rejection.

    For a number p0, the first of a row's n modalities that is kept is the j-th with probability proportional to
    p0^(j-1) (1 - p0). Those before it are missing, and each of those after it is kept with probability 1 - p0,
    independently. For None, the number of kept modalities is uniform on 1..n, stratified over the first axis, and all
    subsets of that size are equally likely.

    Arguments:
        observed: Mask of observed modalities, `(K, *, M)` bool, at least one in every row.
        p0: Probability that a modality is missing, in [0, 1); None samples masks of every size.

    Returns:
        Conditioning masks `(K, *, M)` bool, at least one modality in every row, all of them observed.
    """
    n = observed.sum(-1, keepdim=True)
    if p0 is None:
        return _every_size(observed, n)
    rank = observed.cumsum(-1)  # 1..n at the observed modalities
    u = torch.rand(n.shape, dtype=torch.float64, device=observed.device)
    # Inverse CDF of the truncated geometric distribution; p0 = 0 gives log 0 = -inf, and so the first modality.
    p = torch.tensor(p0, dtype=torch.float64, device=observed.device)
    first = (torch.log1p(-u * (1 - p**n)) / p.log()).ceil().clamp(min=1).minimum(n)
    later = (rank > first) & (torch.rand(observed.shape, device=observed.device) >= p0)
    return observed & ((rank == first) | later)


def _every_size(observed: Tensor, n: Tensor) -> Tensor:
    """Samples masks of every size, see `sample_rows`; n is the number of observed modalities, `(K, *, 1)`."""
    draws, device = len(observed), observed.device
    shift = torch.arange(draws, dtype=torch.float64, device=device).view(-1, *[1] * (observed.dim() - 1)) / draws
    u = (torch.rand(n.shape[1:], dtype=torch.float64, device=device) + shift) % 1  # (K, *, 1), each uniform
    size = (u * n).floor() + 1
    keys = torch.where(observed, torch.rand(observed.shape, device=device), torch.inf)
    rank = keys.argsort(-1).argsort(-1)  # 0..n-1 in random order at the observed modalities
    return observed & (rank < size)


def subsets(modalities: int, device: torch.device | str | None = None) -> Tensor:
    """Returns all conditioning masks except the empty one, `(2^M - 1, M)` bool.

    Example:
        >>> subsets(2)
        tensor([[False,  True],
                [ True, False],
                [ True,  True]])
    """
    every = list(product([False, True], repeat=modalities))
    return torch.tensor(every[1:], device=device)


def probabilities(b: Tensor, p0: float | None) -> Tensor:
    """Computes the probability p(b) of masks.

    Arguments:
        b: Conditioning masks `(*, M)` bool, not empty.
        p0: Probability that a modality is missing, in [0, 1); None for masks of every size.

    Returns:
        Probabilities `(*)` float64, in [0, 1].

    Example:
        >>> probabilities(subsets(2), p0=0.5)
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
        >>> probabilities(subsets(2), p0=None)
        tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    modalities, size = b.shape[-1], b.sum(-1)
    if p0 is None:
        by_size = [0.0, *(1 / (modalities * comb(modalities, n)) for n in range(1, modalities + 1))]
        return torch.tensor(by_size, dtype=torch.float64, device=b.device)[size]
    p = torch.tensor(p0, dtype=torch.float64, device=b.device)
    return p ** (modalities - size).double() * (1 - p0) ** size.double() / (1 - p0**modalities)
