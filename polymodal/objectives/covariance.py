"""Maximum likelihood estimation of a covariance matrix from rows with missing elements, and its ridge regressions.

The model of a row x with the observed elements o is `x_o ~ N(0, S_oo)`. The EM algorithm alternates the conditional
moments of the missing elements m,

    E[x_m] = S_mo S_oo^-1 x_o,    Cov[x_m] = S_mm - S_mo S_oo^-1 S_om

and `S = (1/N) sum E[x x^T]`, over all rows. With a ridge penalty r, missing elements are predicted by

    S_mo (S_oo + r I)^-1 x_o

Source: Little and Rubin, "Statistical Analysis with Missing Data", chapter 11.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decompose", "fit_covariance"]

ITERATIONS = 10
RIDGE = 1e-3
"""Ridge penalty of the conditional moments, relative to the variance of an element."""
NUMBERS = 2**22
"""Number of elements of matrices that are held at once."""
MOST_NUMBERS = 2**25
"""Maximum number of elements of the matrices of all rows; of more rows, the first ones are used."""


def fit_covariance(x: Tensor, mask: Tensor) -> Tensor:
    """Estimates a covariance matrix with EM.

    Arguments:
        x: Standardised rows, `(N, P)` float64; 0 where elements are missing.
        mask: Mask of observed elements, `(N, P)` of ones and zeros.

    Returns:
        Covariances, `(P, P)`.

    Example:
        >>> x = torch.randn(5000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
        >>> round(float(fit_covariance(x, torch.ones_like(x))[0, 1]), 1)
        0.8
    """
    size = x.shape[1]
    x, mask = (part[: max(1, MOST_NUMBERS // size**2)] for part in (x, mask))
    covariance = torch.eye(size, dtype=x.dtype)
    if bool(mask.all()):
        return x.mT @ x / len(x)
    for _ in range(ITERATIONS):
        parts = zip(x.split(max(1, NUMBERS // size**2)), mask.split(max(1, NUMBERS // size**2)), strict=True)
        covariance = sum((_sum_moments(*part, covariance) for part in parts), torch.zeros_like(covariance)) / len(x)
    return covariance


def _sum_moments(x: Tensor, mask: Tensor, covariance: Tensor) -> Tensor:
    """Returns the sum of E[x x^T] over rows, `(P, P)`."""
    masks, which, counts = mask.unique(dim=0, return_inverse=True, return_counts=True)
    both = masks[:, :, None] * masks[:, None]
    eye = torch.eye(len(covariance), dtype=x.dtype)
    # Not torch.linalg.inv, which fails for more than about 150 elements with several threads (MKL of PyTorch 2.13).
    factors = torch.linalg.cholesky(both * covariance + torch.where(both > 0, RIDGE, 1.0) * eye)
    weights = covariance @ (both * torch.cholesky_inverse(factors))
    left = (1 - masks)[:, :, None] * (1 - masks)[:, None] * (covariance - weights @ covariance)
    rows = x + (1 - mask) * torch.einsum("npq,nq->np", weights[which], x)
    return rows.mT @ rows + torch.einsum("n,npq->pq", counts.to(x.dtype), left)


def decompose(covariance: Tensor, penalty: float, count: int) -> tuple[Tensor, Tensor]:
    """Returns a factor model whose predictions are those of ridge regression with the largest factors.

    Arguments:
        covariance: Covariances, `(P, P)`.
        penalty: Ridge penalty, relative to the variance of an element, which is about 1.
        count: Maximum number of factors R.

    Returns:
        Loadings `(P, R)`, and variances of the noise `(P,)`. If R = P, the predictions are exactly those.
    """
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values[-count:].clamp(min=0), vectors[:, -count:]
    loadings = vectors * values.sqrt()
    left = covariance.diagonal() - loadings.square().sum(1)
    return loadings, left.clamp(min=0) + penalty
