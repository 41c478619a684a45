"""Importance-weighted bounds on the log-likelihood and their gradients.

With K samples z_k from the posterior q(z | x) and log-weights `lw_k = log p(x, z_k) - log q(z_k | x)`, the bound
(IWAE) is

    log p(x) >= E log (1/K) sum_k exp(lw_k).

The doubly reparameterised gradient estimator (DReG) uses the normalised weights `v_k = softmax_k(lw_k)`, without
gradient. The gradient is `sum_k v_k d lw_k` for the parameters of the decoders and the prior, and
`sum_k v_k^2 (d lw_k / d z_k) (d z_k / d phi)` for the parameters phi of the encoders.
"""

from __future__ import annotations

from math import log

from torch import Tensor

__all__ = ["doubly_reparameterized", "iwae"]


def iwae(weights: Tensor) -> Tensor:
    """Computes the importance-weighted bound on log p(x) from K log-weights.

    Arguments:
        weights: Log-weights lw_k = log p(x, z_k) - log q(z_k | x) in nats, `(K, *)`.

    Returns:
        The bound log (1/K) sum_k exp(lw_k) in nats, `(*)`.

    Example:
        >>> import torch
        >>> iwae(torch.zeros(10, 3))
        tensor([0., 0., 0.])

    Source: Burda, Grosse and Salakhutdinov (2016), Eq. 8.
    """
    return weights.logsumexp(0) - log(len(weights))


def doubly_reparameterized(weights: Tensor, codes: list[Tensor]) -> Tensor:
    """Computes the bound of `iwae` with the doubly reparameterised gradient (DReG).

    The gradient with respect to z_k is v_k^2 d lw_k / d z_k. Everything else that the log-weights depend on gets the
    gradient sum_k v_k d lw_k. The caller must detach all parameters of q inside the log-weights.

    Arguments:
        weights: Log-weights as in `iwae`, `(K, *)`; the k-th depends on the k-th codes only.
        codes: Reparameterised samples from which the log-weights are computed, `(K, *, D)` each; a gradient hook is
            registered on each.

    Returns:
        The bound, `(*)`.

    Source: Tucker et al. (2019), Eq. 8.
    """
    v = weights.detach().softmax(0)
    for code in codes:
        if code.requires_grad:
            code.register_hook(lambda gradient: gradient * v[..., None])
    surrogate = (v * weights).sum(0)
    return surrogate + (iwae(weights) - surrogate).detach()
