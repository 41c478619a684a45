"""Importance-weighted bounds and their gradients."""

from __future__ import annotations

from math import log

from torch import Tensor

__all__ = ["doubly_reparameterized", "iwae"]


def iwae(weights: Tensor) -> Tensor:
    """The importance-weighted bound on log p(x), of K log-weights.

    Arguments:
        weights: log p(x, z_k) - log q(z_k | x) in nats, `(K, *)`.

    Returns:
        log (1/K) sum_k exp, `(*)`.

    Example:
        >>> import torch
        >>> iwae(torch.zeros(10, 3))
        tensor([0., 0., 0.])

    Source: Burda, Grosse and Salakhutdinov (2016), Eq. 8.
    """
    return weights.logsumexp(0) - log(len(weights))


def doubly_reparameterized(weights: Tensor, codes: list[Tensor]) -> Tensor:
    """The value of `iwae`, with the gradient DReG.

    What the weights depend on, but for the codes, gets sum_k v_k d weights_k; the codes get v_k^2, where v is the
    softmax of the weights over K. All parameters of q within the weights must be detached by the caller.

    Arguments:
        weights: As in `iwae`, `(K, *)`, each a function of its own codes.
        codes: Reparameterised draws that the weights were computed from, `(K, *, D)` each; they get a hook.

    Returns:
        `(*)`.

    Source: Tucker et al. (2019), Eq. 8.
    """
    v = weights.detach().softmax(0)
    for code in codes:
        if code.requires_grad:
            code.register_hook(lambda gradient: gradient * v[..., None])
    surrogate = (v * weights).sum(0)
    return surrogate + (iwae(weights) - surrogate).detach()
