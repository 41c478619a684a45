"""Maximum likelihood estimation of a factor model from rows with missing vectors.

The model of a row x with the observed elements o is

    x_o ~ N(0, L_o L_o^T + diag(n_o))

with loadings L, `(P, R)`, and noise variances n, `(P,)`. The EM algorithm alternates the posterior of the factors u,

    C_o = (I + L_o^T diag(n_o)^-1 L_o)^-1,    E[u] = C_o L_o^T diag(n_o)^-1 x_o,    E[u u^T] = C_o + E[u] E[u]^T

and the regression of each element on the factors, over the rows that have it.

Source: Rubin and Thayer (1982), "EM algorithms for ML factor analysis".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["fit_factor_model"]

FLOOR = 1e-5
"""Smallest variance of the noise of an element, relative to its variance."""
ITERATIONS = 50
MOST_MASKS = 64
"""Maximum number of different masks; rows with rarer masks are left out."""


class Group(NamedTuple):
    """Rows with the same mask, or fewer rows with the same second moments."""

    rows: Tensor
    """Values, `(n, P)`, with 0 where they are missing."""
    total: int
    """Number of rows that they represent."""
    mask: Tensor
    """Mask of observed elements, `(P,)` of ones and zeros."""


def fit_factor_model(x: Tensor, observed: Tensor, sizes: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Estimates the loadings and the noise of a factor model with EM.

    Arguments:
        x: Standardised values of G vectors, `(N, P)` float64, with P the sum of their sizes. Missing ones are 0.
        observed: Observed mask of the vectors, `(N, G)` bool.
        sizes: Size of each vector, `(G,)`.
        count: Number of factors R, at most P.

    Returns:
        Loadings `(P, R)`, and variances of the noise `(P,)`.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> u, noise = (torch.randn(5000, n, dtype=torch.float64, generator=generator) for n in (1, 3))
        >>> x = 0.8 * u + 0.6 * noise
        >>> loadings, variances = fit_factor_model(x, torch.ones(5000, 1, dtype=torch.bool), [3], 1)
        >>> bool(((loadings.abs() - 0.8).abs() < 0.05).all()), bool(((variances - 0.36).abs() < 0.05).all())
        (True, True)
    """
    some = observed.any(1)
    x, observed = x[some], observed[some]
    groups = _group_rows(x, observed, sizes)
    counts = torch.stack([group.total * group.mask for group in groups]).sum(0)
    squares = torch.stack([group.rows.square().sum(0) for group in groups]).sum(0) / counts.clamp(min=1)
    loadings, noise = _find_directions(x, count), 0.5 * squares.clamp(min=1e-12)
    for _ in range(ITERATIONS):
        loadings, noise = _update(groups, loadings, noise, squares, counts)
    return loadings, noise


def _group_rows(x: Tensor, observed: Tensor, sizes: Sequence[int]) -> list[Group]:
    """Groups rows by their masks, and replaces the rows of a group by at most P with the same second moments."""
    masks, which, counts = observed.unique(dim=0, return_inverse=True, return_counts=True)
    repeats, groups = torch.tensor(sizes), []
    for number in counts.argsort(descending=True, stable=True)[:MOST_MASKS].tolist():
        rows = x[which == number]
        compact = torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
        groups.append(Group(compact, len(rows), masks[number].repeat_interleave(repeats).to(x)))
    return groups


def _find_directions(x: Tensor, count: int) -> Tensor:
    """Returns approximate principal directions of the rows, `(P, R)`, scaled to about 0.7 of their deviations."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(x.shape[1], count, dtype=x.dtype, generator=generator)
    for _ in range(5):
        directions = torch.linalg.qr(x.mT @ (x @ directions)).Q
    scores = (x @ directions).square().mean(0).sqrt()
    return directions * scores * 0.7


def _update(
    groups: list[Group], loadings: Tensor, noise: Tensor, squares: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Takes one step of EM; returns the new loadings and variances of the noise."""
    count = loadings.shape[1]
    eye = torch.eye(count, dtype=loadings.dtype)
    cross = torch.zeros_like(loadings)  # sum over rows of x u^T, (P, R)
    moments, members = [], []  # sums over rows of E[u u^T], (R, R) for each group
    for group in groups:
        scaled = loadings * (group.mask / noise)[:, None]
        inverse = torch.linalg.inv(eye + loadings.mT @ scaled)
        u = group.rows @ (scaled @ inverse)
        cross += group.rows.mT @ u
        moments.append(group.total * inverse + u.mT @ u)
        members.append(group.mask)
    kinds, which = torch.stack(members, 1).unique(dim=0, return_inverse=True)  # elements with the same groups
    new = torch.zeros_like(loadings)
    for number, kind in enumerate(kinds):
        same, total = which == number, torch.einsum("g,grs->rs", kind, torch.stack(moments))
        if kind.any():
            new[same] = torch.linalg.solve(total, cross[same].mT).mT
    left = squares - (new * cross).sum(1) / counts.clamp(min=1)
    return new, left.maximum(FLOOR * squares).clamp(min=1e-12)
