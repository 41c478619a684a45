"""The conditioning index b: which of a row's modalities the encoder sees.

p(b) is an independent Bernoulli(1 - p0) per modality, the all-zero index left out (MAC-WAE, Eq. 7).
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

__all__ = ["probabilities", "sample", "sample_rows", "subsets"]


def sample(observed: Tensor, draws: int, p0: float, *, per_sample: bool = False) -> Tensor:
    """Draws K conditioning indices for a batch.

    One index is drawn per pass and shared by the batch, or one per row; each row then keeps what it has of it.
    Where that is nothing, the row's index is drawn anew over what it has, so every row's law is Eq. 7 over its
    own modalities. Random numbers come from PyTorch's global stream.

    Arguments:
        observed: What each row has, `(B, M)` bool, something in every row.
        draws: Their number K.
        p0: Probability that a modality is hidden, in [0, 1).
        per_sample: One index per row instead of one per pass.

    Returns:
        `(K, B, M)` bool.

    Example:
        >>> b = sample(torch.ones(4, 3, dtype=torch.bool), draws=10, p0=0.9)
        >>> b.shape, bool(b.any(-1).all())
        (torch.Size([10, 4, 3]), True)

    Source: MAC-WAE, Eq. 7 and Algorithm 1; incomplete rows are not in the paper.
    """
    everything = observed.expand(draws, *observed.shape)
    if per_sample:
        return sample_rows(everything, p0)
    b = sample_rows(torch.ones_like(everything[:, :1]), p0) & observed
    empty = ~b.any(-1, keepdim=True)
    return torch.where(empty, sample_rows(everything, p0), b) if empty.any() else b


def sample_rows(observed: Tensor, p0: float) -> Tensor:
    """Draws Eq. 7 for every row over what that row has, without rejection.

    Of the n modalities of a row, the first one kept is the j-th with probability proportional to
    p0^(j-1) (1 - p0); those before it are hidden and those after it are independent.

    Arguments:
        observed: `(*, M)` bool, something in every row.
        p0: Probability that a modality is hidden, in [0, 1).

    Returns:
        `(*, M)` bool, something in every row and nothing that `observed` lacks.
    """
    rank = observed.cumsum(-1)  # 1..n at the observed ones
    n = rank[..., -1:]
    u = torch.rand(n.shape, dtype=torch.float64, device=observed.device)
    # The truncated geometric law by inversion; p0 = 0 gives log 0 = -inf and so the first.
    p = torch.tensor(p0, dtype=torch.float64, device=observed.device)
    first = (torch.log1p(-u * (1 - p**n)) / p.log()).ceil().clamp(min=1).minimum(n)
    later = (rank > first) & (torch.rand(observed.shape, device=observed.device) >= p0)
    return observed & ((rank == first) | later)


def subsets(modalities: int, device: torch.device | str | None = None) -> Tensor:
    """Every conditioning index but the empty one, `(2^M - 1, M)` bool.

    Example:
        >>> subsets(2)
        tensor([[False,  True],
                [ True, False],
                [ True,  True]])
    """
    every = list(product([False, True], repeat=modalities))
    return torch.tensor(every[1:], device=device)


def probabilities(b: Tensor, p0: float) -> Tensor:
    """p(b) of Eq. 7, float64.

    Arguments:
        b: `(*, M)` bool, not empty.
        p0: Probability that a modality is hidden, in [0, 1).

    Returns:
        `(*)`, in [0, 1].

    Example:
        >>> probabilities(subsets(2), p0=0.5)
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
    """
    seen = b.sum(-1).double()
    modalities = b.shape[-1]
    hidden = modalities - seen
    return torch.tensor(p0, dtype=torch.float64, device=b.device) ** hidden * (1 - p0) ** seen / (1 - p0**modalities)
