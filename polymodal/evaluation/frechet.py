"""The Fréchet distance between Gaussians, and the moments that it is worked out from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["Features", "Moments", "frechet_distance"]

Features = Callable[[Tensor], Tensor]
"""From pictures `(N, 3, H, W)` in [0, 1] to features `(N, F)`."""


class Moments:
    """Mean and covariance of vectors that come in batches, float64.

    Example:
        >>> moments = Moments()
        >>> moments.add(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
        >>> moments.add(torch.tensor([[4.0, 3.0]]))
        >>> moments.rows, moments.mean.tolist()
        (3, [2.0, 1.0])
    """

    def __init__(self) -> None:
        self.rows, self.start = 0, torch.zeros(())
        self.sums, self.products = torch.zeros(()), torch.zeros(())

    def add(self, vectors: Tensor) -> None:
        """Takes N vectors, `(N, F)`."""
        vectors = vectors.detach().to("cpu", torch.float64)
        if not self.rows and len(vectors):
            self.start = vectors.mean(0)  # near the mean, so that squares stay exact
        apart = vectors - self.start
        self.sums = self.sums + apart.sum(0)
        self.products = self.products + apart.T @ apart
        self.rows += len(vectors)

    @property
    def mean(self) -> np.ndarray:
        """`(F,)`; of one vector at least."""
        return (self.start + self.sums / self.rows).numpy()

    @property
    def covariance(self) -> np.ndarray:
        """`(F, F)`, over N - 1; of two vectors at least."""
        between = torch.outer(self.sums, self.sums) / self.rows
        return ((self.products - between) / (self.rows - 1)).numpy()


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """The squared Fréchet distance (2-Wasserstein) between two Gaussians, in the squared units of the vectors.

    `|m1 - m2|^2 + tr(C1 + C2) - 2 tr (C1 C2)^(1/2)`. The last trace is the sum of the singular values of
    `C1^(1/2) C2^(1/2)`, which are as exact as the roots where covariances are singular: the distance of a Gaussian
    from itself is 0 to rounding.

    Arguments:
        mean1: `(F,)`.
        cov1: `(F, F)`, symmetric and positive semidefinite.
        mean2: `(F,)`.
        cov2: `(F, F)`.

    Returns:
        At least 0.

    Example:
        >>> frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 0.0]), 4 * np.eye(2))
        11.0

    Source: Dowson and Landau (1982); Heusel et al. (2017), Eq. 6.
    """
    first, second = (_root(np.asarray(cov, np.float64)) for cov in (cov1, cov2))
    apart = np.asarray(mean1, np.float64) - np.asarray(mean2, np.float64)
    # Of the roots and not of the covariances: what is rounded off as negative then counts nowhere.
    spread = np.square(first).sum() + np.square(second).sum()
    return max(0.0, float(apart @ apart + spread - 2 * np.linalg.svd(first @ second, compute_uv=False).sum()))


def _root(cov: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(min=0)) @ vectors.T
