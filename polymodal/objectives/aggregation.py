"""From what single modalities say of a code to what several of them say together."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from polymodal.distributions import DiagNormal

__all__ = ["product", "stratify"]


def product(mean: Tensor, log_variance: Tensor, members: Tensor, prior: Tensor | bool = False) -> DiagNormal:
    """The product of Gaussian experts, for any number of choices of experts at once.

    Precisions add up, in logarithms: an absent expert drops out, and gradients stay finite however sure or unsure
    an expert is. Without any expert the product is the standard normal prior.

    Arguments:
        mean: Of the M experts, `(B, M, D)`.
        log_variance: `(B, M, D)`.
        members: Which experts take part, `(*, B, M)` bool.
        prior: Where the standard normal is one more expert, bool or `(*, B)` bool.

    Returns:
        Batch shape `(*, B)`, event shape `(D,)`.

    Example:
        >>> mean, log_variance = torch.tensor([[[1.0], [3.0]]]), torch.zeros(1, 2, 1)
        >>> q = product(mean, log_variance, torch.tensor([[[True, True]], [[True, False]]]))
        >>> q.mean.flatten(), q.variance.flatten()
        (tensor([2., 1.]), tensor([0.5000, 1.0000]))

    Source: Wu and Goodman (2018), section 2.2; Sutter et al. (2021), Eq. 4.
    """
    alone = ~members.any(-1) | prior  # (*, B)
    log_precision = torch.cat([-log_variance, torch.zeros_like(log_variance[:, :1])], dim=1)  # (B, M + 1, D)
    means = torch.cat([mean, torch.zeros_like(mean[:, :1])], dim=1)
    present = torch.cat([members, alone[..., None]], dim=-1)[..., None]  # (*, B, M + 1, 1)
    log_precision = torch.where(present, log_precision, -torch.inf)
    total = log_precision.logsumexp(-2)  # (*, B, D)
    weights = (log_precision - total[..., None, :]).exp()
    most = 0.9 * log(torch.finfo(total.dtype).max)  # beyond it a variance is 0 or infinite
    return DiagNormal((weights * means).sum(-2), (-total.clamp(-most, most) / 2).exp())


def stratify(allowed: Tensor) -> Tensor:
    """Deals the rows of a batch out to S choices: as many to each as can be, the rest and the refused at random.

    Arguments:
        allowed: What a row may be dealt, `(S, B)` bool, something for every row.

    Returns:
        `(B,)` int64, in a random order.

    Example:
        >>> stratify(torch.ones(3, 9, dtype=torch.bool)).bincount()
        tensor([3, 3, 3])

    Source: Sutter et al. (2021), the authors' mixture component selection, in a random order of the rows.
    """
    choices, rows = allowed.shape
    device = allowed.device
    even = torch.arange(choices, device=device).repeat_interleave(rows // choices)
    rest = torch.randint(choices, (rows - len(even),), device=device)
    dealt = torch.cat([even, rest])[torch.randperm(rows, device=device)]
    other = torch.where(allowed, torch.rand(allowed.shape, device=device), -1.0).argmax(0)
    return torch.where(allowed.gather(0, dealt[None])[0], dealt, other)
