"""Fréchet distance between two sets of features, each summarised as a Gaussian by its mean and covariance.

`d^2 = |m1 - m2|^2 + tr(C1 + C2) - 2 tr (C1 C2)^(1/2)`, with m1, m2 the means and C1, C2 the covariances. It is also
known as the squared 2-Wasserstein distance, and for features of Inception-v3 as the Fréchet inception distance (FID).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["Features", "Moments", "frechet_distance"]

Features = Callable[[Tensor], Tensor]
"""Function from images `(N, 3, H, W)` in [0, 1] to features `(N, F)`."""


class Moments:
    """Mean and covariance of vectors, accumulated over batches in float64.

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
        """Adds N vectors, `(N, F)`."""
        vectors = vectors.detach().to("cpu", torch.float64)
        if not self.rows and len(vectors):
            self.start = vectors.mean(0)  # an offset near the mean keeps the sums of squares accurate
        apart = vectors - self.start
        self.sums = self.sums + apart.sum(0)
        self.products = self.products + apart.T @ apart
        self.rows += len(vectors)

    @property
    def mean(self) -> np.ndarray:
        """The mean `(F,)`; needs at least one vector."""
        return (self.start + self.sums / self.rows).numpy()

    @property
    def covariance(self) -> np.ndarray:
        """The covariance `(F, F)`, normalised by N - 1; needs at least two vectors."""
        between = torch.outer(self.sums, self.sums) / self.rows
        return ((self.products - between) / (self.rows - 1)).numpy()


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Computes the squared Fréchet distance (2-Wasserstein) between two Gaussians.

    `|m1 - m2|^2 + tr(C1 + C2) - 2 tr (C1 C2)^(1/2)`. The last trace is computed as the sum of the singular values of
    `C1^(1/2) C2^(1/2)`. These are as accurate as the square roots even for singular covariances, so the distance of a
    Gaussian from itself is 0 up to rounding.

    Arguments:
        mean1: Mean m1 of the first Gaussian, `(F,)`.
        cov1: Covariance C1 of the first Gaussian, `(F, F)`, symmetric and positive semidefinite.
        mean2: Mean m2 of the second Gaussian, `(F,)`.
        cov2: Covariance C2 of the second Gaussian, `(F, F)`.

    Returns:
        The squared distance, a non-negative number in the squared units of the vectors.

    Example:
        >>> frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 0.0]), 4 * np.eye(2))
        11.0

    Source: Dowson and Landau (1982); Heusel et al. (2017), Eq. 6.
    """
    first, second = (_root(np.asarray(cov, np.float64)) for cov in (cov1, cov2))
    apart = np.asarray(mean1, np.float64) - np.asarray(mean2, np.float64)
    # Traces of the squared roots, so that eigenvalues clipped at 0 are left out of every term.
    spread = np.square(first).sum() + np.square(second).sum()
    return max(0.0, float(apart @ apart + spread - 2 * np.linalg.svd(first @ second, compute_uv=False).sum()))


def _root(cov: np.ndarray) -> np.ndarray:
    """Returns the symmetric square root of a covariance, whose negative eigenvalues are set to 0."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(min=0)) @ vectors.T
