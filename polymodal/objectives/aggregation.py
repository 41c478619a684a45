"""Aggregation of the posteriors of single modalities into a joint posterior: products and mixtures of experts.

A product of Gaussian experts `q_m = N(mu_m, sigma_m^2)`, m in a set A, is Gaussian in each latent dimension. Its
precision and mean are

    1 / sigma^2 = sum_{m in A} 1 / sigma_m^2,    mu = sigma^2 sum_{m in A} mu_m / sigma_m^2.

The prior N(0, 1) can be one more expert, with mean 0 and precision 1. Sampling from a mixture of experts is
stratified: the rows of a batch are divided evenly among its components.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from polymodal.distributions import DiagNormal

__all__ = ["product", "stratify"]


def product(mean: Tensor, log_variance: Tensor, members: Tensor, prior: Tensor | bool = False) -> DiagNormal:
    """Computes products of Gaussian experts (PoE), for any number of subsets of the experts at once.

    Precisions are summed in log space, so gradients stay finite for very small and very large variances. A missing
    expert is left out of the sum. The product of no experts is the standard normal prior.

    Arguments:
        mean: Means of the M experts, `(B, M, D)`.
        log_variance: Log-variances of the experts, `(B, M, D)`.
        members: Mask of the experts in each product, `(*, B, M)` bool.
        prior: Whether the standard normal prior is one more expert, bool or `(*, B)` bool.

    Returns:
        Product distributions, batch shape `(*, B)`, event shape `(D,)`.

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
    most = 0.9 * log(torch.finfo(total.dtype).max)  # beyond this, the variance underflows to 0 or overflows
    return DiagNormal((weights * means).sum(-2), (-total.clamp(-most, most) / 2).exp())


def stratify(allowed: Tensor) -> Tensor:
    """Assigns each row of a batch to one of S mixture components, in equal numbers where possible.

    Each component gets B // S rows, in random order, and the remaining rows get components at random. A row whose
    component is not allowed gets one of its allowed components at random.

    Arguments:
        allowed: Components allowed for each row, `(S, B)` bool, at least one per row.

    Returns:
        Component of each row, `(B,)` int64.

    Example:
        >>> stratify(torch.ones(3, 9, dtype=torch.bool)).bincount()
        tensor([3, 3, 3])

    Source: Sutter et al. (2021), mixture component selection in the authors' code; here in random order of the rows.
    """
    choices, rows = allowed.shape
    device = allowed.device
    even = torch.arange(choices, device=device).repeat_interleave(rows // choices)
    rest = torch.randint(choices, (rows - len(even),), device=device)
    dealt = torch.cat([even, rest])[torch.randperm(rows, device=device)]
    other = torch.where(allowed, torch.rand(allowed.shape, device=device), -1.0).argmax(0)
    return torch.where(allowed.gather(0, dealt[None])[0], dealt, other)
